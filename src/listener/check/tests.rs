//! Tests of the gRPC server, over real connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tower::{Service as _, ServiceExt as _};

use super::*;
use crate::authentication::revocation::Revocations;
use crate::authorization::Authorization;
use crate::authorization::quota::Quota;
use crate::catalog::{Catalog, Contents};
use crate::check::Checker;
use crate::check::overload::Overload;
use crate::check::peer::PeerRules;
use crate::check::service::{CHECK_PATH, Shared};
use crate::clock::Clock;
use crate::config::value::HumanDuration;
use crate::listener::address::ListenAddress;
use crate::readiness::Readiness;
use crate::shutdown::{Servers, Shutdown};
use crate::snapshot::{Configured, Revision, Snapshot, SnapshotReader};
use crate::task::Tasks;
use crate::telemetry::metrics::Metrics;
use crate::usage::Recorder;

/// A check listener over an empty catalog.
struct Fixture {
    address: ListenAddress,
    readiness: Readiness,
    servers: Servers,
    tasks: Tasks,
    recorder: Recorder,
    metrics: Metrics,
}

impl Fixture {
    async fn start(listener: CheckListener) -> Self {
        Self::start_with(
            listener,
            Overload::of(&Handle::current(), Duration::from_secs(1)),
        )
        .await
    }

    async fn start_with(listener: CheckListener, overload: Overload) -> Self {
        let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
        let (recorder, _) = Recorder::collecting(metrics.clone(), Clock::system());
        let empty = Catalog::new(Contents::default());
        let snapshot = Snapshot::new(Revision::new(&[]), empty, &Configured::default());
        let shared = Shared {
            checker: Checker::new(
                Authorization::new(
                    Clock::system(),
                    Revocations::new(0),
                    Quota::offline(metrics.clone()),
                ),
                None,
                recorder.clone(),
            ),
            snapshots: SnapshotReader::new(snapshot),
            overload,
            slots: Semaphore::new(100),
            deadline: Duration::from_secs(5),
            max_message: 1000,
        };
        let name: Arc<str> = "inbound".into();
        let service = AuthorizationService::new(
            Arc::new(shared),
            name.clone(),
            listener.rules(),
            PeerRules::new(None, false, Arc::default(), (&metrics, &name)),
        );
        let limits = listener.accept_limits();
        let incoming = Incoming::bind(&name, &listener.address, limits, &metrics);
        let incoming = incoming.await.unwrap();
        let (tasks, servers, readiness) = (Tasks::new(), Servers::new(), Readiness::new());
        let health = Health::new().await;
        tasks
            .streaming("health", health.clone().follow(readiness.clone()))
            .keep();
        let address = incoming.address().clone();
        let stop = servers.stop();
        let server = CheckServer {
            listener,
            checks: service,
            health,
            tasks: tasks.clone(),
        };
        servers.run(&tasks, "inbound", server.serve(incoming, stop));
        Self {
            address,
            readiness,
            servers,
            tasks,
            recorder,
            metrics,
        }
    }

    async fn channel(&self) -> Channel {
        let uri = match &self.address {
            ListenAddress::Tcp { .. } => format!("http://{}", self.address),
            ListenAddress::Unix(path) => format!("unix://{}", path.display()),
        };
        Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
    }

    fn shutdown(&self, drain_delay: Duration) -> Shutdown {
        Shutdown {
            readiness: self.readiness.clone(),
            servers: self.servers.clone(),
            recorder: self.recorder.clone(),
            quota: Quota::offline(self.metrics.clone()),
            tasks: self.tasks.clone(),
            drain_delay,
            grace: Duration::from_secs(5),
        }
    }
}

fn listener() -> CheckListener {
    CheckListener {
        address: ListenAddress::loopback(0),
        ..CheckListener::default()
    }
}

async fn check(channel: Channel) -> Result<i32, tonic::Status> {
    let mut client = AuthorizationClient::new(channel);
    let answer = client.check(CheckRequest::default());
    Ok(answer.await?.into_inner().status.unwrap().code)
}

/// The health of `service` once it is `expected`; waits for a change at most a second.
async fn health_becomes(channel: &Channel, service: &str, expected: ServingStatus) {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut client = HealthClient::new(channel.clone());
    let mut watch = client.watch(request).await.unwrap().into_inner();
    let seen = async {
        while let Some(response) = watch.message().await.unwrap() {
            if response.status() == expected {
                return;
            }
        }
        panic!("the watch ended");
    };
    let in_time = tokio::time::timeout(Duration::from_secs(1), seen).await;
    in_time.unwrap_or_else(|_| panic!("`{service}` did not become {expected:?}"));
}

#[tokio::test]
async fn a_check_is_answered_over_tcp_and_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let unix = ListenAddress::Unix(folder.path().join("check.sock"));
    for address in [ListenAddress::loopback(0), unix] {
        let fixture = Fixture::start(CheckListener {
            address,
            ..listener()
        })
        .await;
        let code = check(fixture.channel().await).await.unwrap();
        assert_eq!(code, Code::InvalidArgument as i32);
        let metrics = fixture.metrics.render().unwrap();
        assert!(metrics.contains(r#"decision="deny",reason="request_malformed"} 1"#));
        assert!(metrics.contains(r#"portcullis_connections{listener="inbound"} 1"#));
    }
}

#[tokio::test]
async fn overload_is_an_answer_and_ends_with_the_first_rest_of_a_worker() {
    let (overload, rests) = Overload::standing();
    let fixture = Fixture::start_with(listener(), overload).await;
    let channel = fixture.channel().await;
    for _ in 0..100 {
        let code = check(channel.clone()).await.unwrap();
        assert_eq!(code, Code::Unavailable as i32);
    }
    rests.fetch_add(1, Ordering::Relaxed);
    let code = check(channel).await.unwrap();
    assert_eq!(code, Code::InvalidArgument as i32);
    let metrics = fixture.metrics.render().unwrap();
    let told = r#"decision="fail",reason="overloaded"} 100"#;
    assert!(metrics.contains(told), "{metrics}");
}

#[tokio::test]
async fn a_check_is_refused_before_its_message_is_there_and_its_connection_stays() {
    let (overload, rests) = Overload::standing();
    let fixture = Fixture::start_with(listener(), overload).await;
    let mut channel = fixture.channel().await;
    for _ in 0..2000 {
        let (sender, call) = slow_check(&mut channel).await;
        let answered = tokio::time::timeout(Duration::from_secs(4), call);
        let body = answered.await.unwrap().unwrap().into_body();
        let body = body.collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        // what comes later is nobody's any more, and no reason to end the connection
        let _ = sender.send(Bytes::from_static(&[0, 0, 0])).await;
    }
    rests.fetch_add(1, Ordering::Relaxed);
    let code = check(channel).await.unwrap();
    assert_eq!(code, Code::InvalidArgument as i32);
    let metrics = fixture.metrics.render().unwrap();
    assert!(
        metrics.contains(r#"reason="overloaded"} 2000"#),
        "{metrics}"
    );
    assert!(metrics.contains(r#"portcullis_connections{listener="inbound"} 1"#));
}

#[test]
fn s7_no_connection_is_older_than_the_limit_and_not_all_end_at_once() {
    let limit = Duration::from_secs(100);
    let listener = CheckListener {
        max_connection_age: Some(HumanDuration(limit)),
        ..CheckListener::default()
    };
    let age = || Life::new(&listener, CancellationToken::new()).age;
    let ages: Vec<Duration> = (0..1000).map(|_| age()).collect();
    let (least, most) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
    assert!(*most <= limit && *least >= limit.mul_f64(0.8));
    assert!(
        *most - *least > limit.mul_f64(0.15),
        "{least:?} to {most:?}"
    );
}

#[tokio::test]
async fn an_old_connection_is_asked_to_end_and_ends_after_its_checks() {
    let fixture = Fixture::start(CheckListener {
        max_connection_age: Some(HumanDuration(Duration::from_millis(100))),
        ..listener()
    })
    .await;
    let mut channel = fixture.channel().await;
    let (sender, call) = slow_check(&mut channel).await;
    let ended = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        sender.send(Bytes::from_static(&[0, 0, 0])).await.unwrap();
        drop(sender);
    };
    let (answered, ()) = tokio::join!(call, ended);
    let body = answered.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    let closed = async {
        let open = r#"portcullis_connections{listener="inbound"} 0"#;
        while !fixture.metrics.render().unwrap().contains(open) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(5), closed).await;
    in_time.unwrap();
}

#[tokio::test]
async fn a_connection_that_was_asked_to_end_and_does_not_is_closed() {
    let fixture = Fixture::start(CheckListener {
        max_connection_age: Some(HumanDuration(Duration::from_millis(50))),
        max_connection_age_grace: HumanDuration(Duration::from_millis(50)),
        ..listener()
    })
    .await;
    let mut channel = fixture.channel().await;
    let (_sender, call) = slow_check(&mut channel).await;
    let ended = tokio::time::timeout(Duration::from_secs(3), call).await;
    assert!(ended.unwrap().is_err());
}

#[tokio::test]
async fn a_connection_that_never_speaks_http2_is_closed() {
    let fixture = Fixture::start(CheckListener {
        handshake_timeout: HumanDuration(Duration::from_millis(50)),
        ..listener()
    })
    .await;
    let busy = fixture.channel().await;
    for opening in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let mut silent = TcpStream::connect(fixture.address.to_string())
            .await
            .unwrap();
        silent.write_all(opening).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(2), async {
            // what the server sends of its own accord, until it closes
            while silent
                .read(&mut [0; 256])
                .await
                .is_ok_and(|bytes| bytes > 0)
            {}
        });
        closed.await.unwrap();
    }
    // one that opened properly is still served
    check(busy).await.unwrap();
    let metrics = fixture.metrics.render().unwrap();
    assert!(
        metrics.contains(r#"reason="handshake_timeout"} 2"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let fixture = Fixture::start(listener()).await;
    for path in [
        "/envoy.service.auth.v3.Authorization/Other",
        "/other.Service/Check",
    ] {
        let request = http::Request::post(format!("http://x{path}"))
            .header("content-type", "application/grpc")
            .body(Body::empty())
            .unwrap();
        let mut channel = fixture.channel().await;
        let response = channel.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "12", "{path}");
    }
}

#[tokio::test]
async fn health_is_what_readiness_is() {
    let fixture = Fixture::start(listener()).await;
    let channel = fixture.channel().await;
    let latch = fixture.readiness.hold("catalog");
    for service in ["", "envoy.service.auth.v3.Authorization"] {
        health_becomes(&channel, service, ServingStatus::NotServing).await;
    }
    drop(latch);
    for service in ["", "envoy.service.auth.v3.Authorization"] {
        health_becomes(&channel, service, ServingStatus::Serving).await;
    }
}

async fn reflected(channel: Channel) -> Result<String, tonic::Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(
            "envoy.service.auth.v3.Authorization".to_owned(),
        )),
    };
    let mut client = ServerReflectionClient::new(channel);
    let stream = client.server_reflection_info(tokio_stream::once(request));
    let answer = stream.await?.into_inner().message().await?.unwrap();
    Ok(format!("{:?}", answer.message_response.unwrap()))
}

#[tokio::test]
async fn the_protocol_is_described_only_where_that_is_on() {
    let off = Fixture::start(listener()).await;
    let refused = reflected(off.channel().await).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let on = Fixture::start(CheckListener {
        reflection: true,
        ..listener()
    })
    .await;
    let described = reflected(on.channel().await).await.unwrap();
    assert!(
        described.starts_with("FileDescriptorResponse"),
        "{described}"
    );
}

/// Starts a check whose message comes when the sender sends it.
async fn slow_check(channel: &mut Channel) -> (mpsc::Sender<Bytes>, CallFuture) {
    let (sender, frames) = mpsc::channel::<Bytes>(4);
    let frames = tokio_stream::StreamExt::map(ReceiverStream::new(frames), |bytes| {
        Ok::<_, Infallible>(Frame::data(bytes))
    });
    let request = http::Request::post(format!("http://x{CHECK_PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(StreamBody::new(frames)))
        .unwrap();
    sender.send(Bytes::from_static(&[0, 0])).await.unwrap();
    let call = channel.ready().await.unwrap().call(request);
    (sender, Box::pin(call))
}

type CallFuture = std::pin::Pin<
    Box<dyn Future<Output = Result<http::Response<Body>, tonic::transport::Error>> + Send>,
>;

#[tokio::test]
async fn a_shutdown_finishes_the_checks_that_are_under_way() {
    let fixture = Fixture::start(listener()).await;
    let mut channel = fixture.channel().await;
    let (sender, call) = slow_check(&mut channel).await;
    let (answered, shut_down, ()) = tokio::join!(
        call,
        tokio::time::timeout(
            Duration::from_secs(4),
            fixture.shutdown(Duration::from_millis(100)).run()
        ),
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let draining = fixture.channel().await;
            health_becomes(&draining, "", ServingStatus::NotServing).await;
            // checks are still answered while Envoy learns that they are to go elsewhere
            check(draining).await.unwrap();
            fixture.servers.stop().cancelled().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            let later = Endpoint::from_shared(format!("http://{}", fixture.address));
            assert!(later.unwrap().connect().await.is_err());
            sender.send(Bytes::from_static(&[0, 0, 0])).await.unwrap();
            drop(sender);
        }
    );
    shut_down.unwrap();
    let body = answered.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn those_who_watch_health_do_not_delay_a_shutdown() {
    let fixture = Fixture::start(listener()).await;
    let mut client = HealthClient::new(fixture.channel().await);
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap();
    watch.get_mut().message().await.unwrap();
    let shutdown = fixture.shutdown(Duration::ZERO).run();
    let in_time = tokio::time::timeout(Duration::from_secs(2), shutdown).await;
    in_time.unwrap();
}

#[tokio::test]
async fn a_listener_that_fails_ends_the_process() {
    let tasks = Tasks::new();
    Servers::new().run(&tasks, "inbound", async { anyhow::bail!("no") });
    assert_eq!(&*tasks.ended().await, "listener/inbound");
}
