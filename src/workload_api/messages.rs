//! The messages of the Workload API's streams, as the agent sends them.
//!
//! The `spiffe` crate takes such a message as a whole or not at all. Here it is taken apart: what one
//! trust domain or one SVID has wrong is no reason to keep what was said of the others.

use std::collections::BTreeMap;
use std::fmt;

use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use zeroize::Zeroize as _;

use super::stream::{Messages, causes};

/// The most bytes that a message may have: it can hold several bundles that are too large.
const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// The header that every request has (SPIFFE Workload Endpoint section 6.1).
const SECURITY_HEADER: &str = "workload.spiffe.io";

/// A request: none of those for streams says anything.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Asked {}

/// Our SVIDs, and the authorities of trust domains (`X509SVIDResponse`).
#[derive(Message)]
pub(super) struct X509Message {
    /// Ours, in order.
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<X509Given>,
    /// The certificates of other trust domains, by their names.
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) federated: BTreeMap<String, Vec<u8>>,
}

/// One SVID (`X509SVID`). Its key is wiped when it is dropped.
#[derive(Message)]
#[prost(skip_debug)]
pub(super) struct X509Given {
    /// The SPIFFE ID.
    #[prost(string, tag = "1")]
    pub(super) id: String,
    /// The certificate and those between it and the authorities, in DER one after another.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) chain: Vec<u8>,
    /// The private key (PKCS #8).
    #[prost(bytes = "vec", tag = "3")]
    pub(super) key: Vec<u8>,
    /// The authorities of its trust domain, in DER one after another.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
    /// What it is for, in a word; may be empty.
    #[prost(string, tag = "5")]
    pub(super) hint: String,
}

/// The keys that sign JWT-SVIDs (`JWTBundlesResponse`).
#[derive(Message)]
pub(super) struct JwtMessage {
    /// A set of keys (RFC 7517) by the name of each trust domain.
    #[prost(btree_map = "string, bytes", tag = "1")]
    pub(super) bundles: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for X509Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Given")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Drop for X509Given {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Begins the stream of `call` (`/SpiffeWorkloadAPI/…`).
pub(super) async fn open<M>(channel: Channel, call: &'static str) -> Result<Messages<M>, Status>
where
    M: Message + Default + 'static,
{
    let mut client = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(causes(&error)))?;
    let mut request = Request::new(Asked {});
    let header = MetadataValue::from_static("true");
    request.metadata_mut().insert(SECURITY_HEADER, header);
    let codec = ProstCodec::<Asked, M>::default();
    let path = PathAndQuery::from_static(call);
    let answer = client.server_streaming(request, path, codec).await?;
    Ok(Box::pin(answer.into_inner()))
}
