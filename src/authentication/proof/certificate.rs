//! The certificate that a token is bound to (RFC 8705 section 3): is it the client's?
//
// INVARIANT: a header is read only where the listener trusts whoever wrote it.

use x509_parser::pem::Pem;

use crate::authentication::credential::percent_decode;
use crate::authentication::workload;
use crate::check::request::{DownstreamRequest, Values};
use crate::secret::{equal, sha256};
use crate::spiffe::config::Mesh;

/// Judges whether the client's certificate is the one with the digest `bound`. With `xfcc`, what a
/// trusted proxy says about it counts, where it says anything: the connection's own certificate is
/// that proxy's then, and a token that is bound to the proxy is not for everybody behind it. Where the
/// proxy's client is one of the mesh's trusted proxies, that one's client is meant.
pub(super) fn judge(
    bound: &[u8; 32],
    xfcc: bool,
    request: &DownstreamRequest,
    mesh: &Mesh,
) -> Result<(), &'static str> {
    let forwarded = match request.trusted_xfcc() {
        Some(values) if xfcc => values,
        Some(_) | None => Values::Absent,
    };
    let digest = match (forwarded, request.peer_certificate()) {
        (Values::One(elements), _) => of_xfcc(elements, request, mesh)?,
        (Values::Several, _) => return Err("it was forwarded more than once"),
        (Values::Absent, "") => return Err("Envoy does not show it, or the client has none"),
        (Values::Absent, peer) => of_pem(peer)?,
    };
    equal(&digest, bound)
        .then_some(())
        .ok_or("it is another than the token is bound to")
}

/// The digest of the one certificate in `encoded`, a PEM text that is percent-encoded, as Envoy has it.
fn of_pem(encoded: &str) -> Result<[u8; 32], &'static str> {
    let wrong = "it is no certificate that can be read";
    let text = percent_decode(encoded).ok_or(wrong)?;
    let mut blocks = Pem::iter_from_buffer(text.as_bytes());
    match (blocks.next(), blocks.next()) {
        (Some(Ok(block)), None) if block.label == "CERTIFICATE" => Ok(sha256(&block.contents)),
        _ => Err(wrong),
    }
}

/// The `Hash` of the caller's element: of the certificate that the nearest proxy saw, or the trusted
/// proxy before it.
fn of_xfcc(
    elements: &str,
    request: &DownstreamRequest,
    mesh: &Mesh,
) -> Result<[u8; 32], &'static str> {
    let element = workload::forwarded(elements, request, mesh)?;
    let hash = element.hash.ok_or("it was forwarded without a hash")?;
    from_hexadecimal(&hash).ok_or("it was forwarded in a form that cannot be read")
}

fn from_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut bytes = Vec::with_capacity(32);
    for pair in text.as_bytes().chunks(2) {
        let (high, low) = (digit(*pair.first()?)?, digit(*pair.get(1)?)?);
        bytes.push(high << 4 | low);
    }
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::testing;
    use crate::spiffe::config::SpiffeConfig;

    fn hash_of(elements: &str) -> Result<[u8; 32], &'static str> {
        let proxies = SpiffeConfig {
            trusted_proxies: vec!["spiffe://td/gateway".into()],
            ..SpiffeConfig::default()
        };
        of_xfcc(elements, &testing::request("/", &[]), &proxies.mesh())
    }

    #[test]
    fn behind_a_trusted_proxy_its_clients_hash_is_read_and_never_its_own() {
        let (own, gateway) = ("ab".repeat(32), "11".repeat(32));
        let behind = format!("Hash={gateway};URI=spiffe://td/gateway");
        let client = format!("Hash={own};Subject=\"CN=x\"");
        assert_eq!(hash_of(&format!("{client},{behind}")), Ok([0xab; 32]));
        // its own token, where its client showed no certificate
        assert_eq!(hash_of(&behind), Ok([0x11; 32]));
        for elements in [
            format!("URI=spiffe://td/a,{behind}"),
            format!("{client},{behind},{behind}"),
            format!("{client},{client},{behind}"),
        ] {
            assert!(hash_of(&elements).is_err(), "{elements}");
        }
    }

    #[test]
    fn the_last_elements_hash_is_read_whatever_others_say() {
        let (one, two) = ("11".repeat(32), "ab".repeat(32));
        for elements in [
            format!("Hash={two}"),
            format!("By=spiffe://a;Hash={two};Subject=\"CN=x,O=y;Hash={one}\""),
            format!("Hash={one};URI=a,By=b;Hash={two};URI=c"),
            format!("Subject=\"a\\\",Hash={one}\\\"\";hash={two}"),
        ] {
            assert_eq!(hash_of(&elements), Ok([0xab; 32]), "{elements}");
        }
        for elements in [
            String::new(),
            "Hash=".to_owned(),
            format!("Hash={one}Z"),
            format!("Hash={}", "1".repeat(63)),
            format!("Hash={one},URI=a"),
            format!("Hash={one};Hash={one}"),
            format!("Hash={one};Subject=\"a"),
            format!("Subject=\"a;Hash={one}"),
            format!("Hash={one},"),
            format!("Subject=\\\",Hash={one};URI=\""),
            format!("URI=a\\;Hash={one}"),
        ] {
            assert!(hash_of(&elements).is_err(), "{elements}");
        }
    }
}
