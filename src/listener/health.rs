//! The gRPC health service (`grpc.health.v1`): it says what [`Readiness`] says, nothing better.

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::check::service::AuthorizationService;
use crate::readiness::Readiness;

/// The services that have a health: the process as a whole (`""`), and the one that Envoy asks.
const SERVICES: [&str; 2] = ["", AuthorizationService::NAME];

/// The health that every check listener tells.
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Not serving, until [`Health::follow`] learns better.
    pub async fn new() -> Self {
        let health = Self {
            reporter: HealthReporter::new(),
        };
        health.set(false).await;
        health
    }

    /// The service to offer.
    #[must_use]
    pub fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Follows `readiness` as long as there is one: run it as a task.
    pub async fn follow(self, readiness: Readiness) {
        let mut ready = readiness.watch();
        loop {
            let now = *ready.borrow_and_update();
            self.set(now).await;
            if ready.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends the streams of those who watch, which would hold their connections open.
    pub async fn close(&self) {
        let mut reporter = self.reporter.clone();
        for service in SERVICES {
            reporter.clear_service_status(service).await;
        }
    }

    async fn set(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
