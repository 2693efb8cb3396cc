//! Servers to compare with, each as a process of its own: this very program, told to play a role.

use std::net::SocketAddr;
use std::process::Command;

use bytes::Bytes;
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use envoy_types::pb::envoy::service::auth::v3::OkHttpResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::google::rpc::Status;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::Server;

use super::support::check::BytesCodec;

/// What a server does with a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Decodes it with envoy-types and answers OK: the least that a server written with tonic and
    /// envoy-types does.
    Empty,
    /// Neither decodes it nor builds an answer: what HTTP/2 and gRPC cost by themselves.
    Floor,
    /// As `floor`, but with the answer in the file that [`ANSWER`] names.
    Same,
}

/// The environment variable with the file that holds the answer of [`Role::Same`].
pub(crate) const ANSWER: &str = "ANSWER";

impl Role {
    const FLAG: &str = "--role";

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Floor => "floor",
            Self::Same => "same",
        }
    }

    /// The command that plays it at `address`, on `workers` threads.
    pub(crate) fn command(self, address: SocketAddr, workers: usize) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
        command.args([Self::FLAG, self.name(), &address.to_string()]);
        command.arg(workers.to_string());
        command
    }

    /// Plays the role that this program was started for; false where it was started for none.
    pub(crate) fn play() -> bool {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [flag, role, address, workers] = arguments.as_slice() else {
            return false;
        };
        if flag != Self::FLAG {
            return false;
        }
        let role = [Self::Empty, Self::Floor, Self::Same]
            .into_iter()
            .find(|known| known.name() == role);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers.parse().expect("a number of threads"))
            .enable_all()
            .build();
        let address = address.parse().expect("an address");
        let served = runtime
            .expect("a runtime")
            .block_on(role.expect("a role").serve(address));
        served.expect("the server runs");
        true
    }

    async fn serve(self, address: SocketAddr) -> Result<(), tonic::transport::Error> {
        let mut server = Server::builder().tcp_nodelay(true);
        let router = match self {
            Self::Empty => server.add_service(AuthorizationServer::new(AnswersOk)),
            Self::Floor => server.add_service(Floor {
                answer: prost::Message::encode_to_vec(&ok()).into(),
            }),
            Self::Same => server.add_service(Floor {
                answer: answer_of_file(),
            }),
        };
        router.serve(address).await
    }
}

fn answer_of_file() -> Bytes {
    let file = std::env::var_os(ANSWER).expect("a file with the answer");
    std::fs::read(file).expect("the file can be read").into()
}

fn ok() -> CheckResponse {
    CheckResponse {
        status: Some(Status::default()),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
        ..CheckResponse::default()
    }
}

struct AnswersOk;

#[tonic::async_trait]
impl Authorization for AnswersOk {
    async fn check(
        &self,
        _: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        Ok(tonic::Response::new(ok()))
    }
}

/// Gives the same bytes to everybody.
#[derive(Debug, Clone)]
struct Floor {
    answer: Bytes,
}

impl NamedService for Floor {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl Service<http::Request<tonic::body::Body>> for Floor {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let answer = self.answer.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(BytesCodec);
            Ok(grpc.unary(Same(answer), request).await)
        })
    }
}

struct Same(Bytes);

impl UnaryService<Bytes> for Same {
    type Response = Bytes;
    type Future = std::future::Ready<Result<tonic::Response<Bytes>, tonic::Status>>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(self.0.clone())))
    }
}
