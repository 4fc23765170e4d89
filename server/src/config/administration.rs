//! Where administrators connect: the HTTP admin server and the port that Prometheus reads.

use super::resolved::{Host, named};
use super::typed::Reader;
use crate::admin::http::Site;

/// Port of the admin server unless configured.
const ADMIN_PORT: u16 = 8080;
/// Port for Prometheus unless configured.
const METRICS_PORT: u16 = 7000;
const IDLE_MS: i64 = 30_000;

/// The keys that say so.
#[derive(Clone, Debug, Default)]
pub struct AdminKeys {
    /// `admin.enableServer`
    enabled: Option<bool>,
    /// `admin.serverAddress`
    address: Option<String>,
    /// `admin.serverPort`
    port: Option<u16>,
    /// `admin.commandURL`
    path: Option<String>,
    /// `admin.idleTimeout`, ms
    idle_ms: Option<i64>,
    /// `admin.forceHttps` or `admin.needClientAuth`
    wants_tls: bool,
    /// `metricsProvider.className` is Prometheus'
    prometheus: bool,
    /// `metricsProvider.httpHost`
    metrics_address: Option<String>,
    /// `metricsProvider.httpPort`
    metrics_port: Option<u16>,
}

/// One port for administrators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminPort {
    /// Where to listen.
    pub host: Host,
    /// On which port; 0 lets the system choose.
    pub port: u16,
    /// What is served there.
    pub site: Site,
    /// A request has so long to arrive, and its answer to be read, ms.
    pub patience_ms: u64,
    /// The server does not start if the port cannot be had. ZooKeeper gets along without its admin
    /// server, and not without its metrics.
    pub vital: bool,
}

impl AdminKeys {
    pub(super) fn take(reader: &mut Reader) -> AdminKeys {
        let force = reader.lenient_bool("admin.forceHttps").unwrap_or(false);
        let certificates = reader.lenient_bool("admin.needClientAuth").unwrap_or(false);
        let mut keys = AdminKeys {
            enabled: reader.lenient_bool("admin.enableServer"),
            address: reader.text("admin.serverAddress"),
            port: reader.port("admin.serverPort"),
            path: reader.text("admin.commandURL"),
            idle_ms: reader.number("admin.idleTimeout"),
            wants_tls: force || certificates,
            prometheus: false,
            metrics_address: reader.text("metricsProvider.httpHost"),
            metrics_port: reader.port("metricsProvider.httpPort"),
        };
        if reader.lenient_bool("admin.portUnification") == Some(true) {
            let text = "admin.portUnification: TLS is not available yet, only HTTP is spoken";
            reader.notice(true, text);
        }
        if let Some(class) = reader.take("metricsProvider.className") {
            match class.value.rsplit('.').next().unwrap_or_default() {
                "DefaultMetricsProvider" | "NullMetricsProvider" => {}
                "PrometheusMetricsProvider" => keys.prometheus = true,
                other => {
                    let text = format!("metricsProvider.className={other}: unknown");
                    reader.problem(class.line, text);
                }
            }
        }
        if keys.wants_tls && keys.enabled != Some(false) {
            let text = "admin.forceHttps, admin.needClientAuth: TLS is not available yet, so the \
                        admin server does not listen";
            reader.notice(true, text);
        }
        keys
    }

    /// The ports to open. A server for oneself (`no_file`) has none.
    pub(super) fn ports(&self, no_file: bool) -> Vec<AdminPort> {
        let host = |address: &Option<String>| named(address.as_deref().unwrap_or_default());
        let patience_ms = self.idle_ms.unwrap_or(IDLE_MS).clamp(1, IDLE_MS) as u64;
        let mut ports = Vec::new();
        if self.enabled.unwrap_or(!no_file) && !self.wants_tls {
            let path = self.path.as_deref().unwrap_or("/commands").trim_end_matches('/');
            ports.push(AdminPort {
                host: host(&self.address),
                port: self.port.unwrap_or(ADMIN_PORT),
                site: Site::Commands { path: format!("/{}", path.trim_start_matches('/')) },
                patience_ms,
                vital: false,
            });
        }
        if self.prometheus {
            ports.push(AdminPort {
                host: host(&self.metrics_address),
                port: self.metrics_port.unwrap_or(METRICS_PORT),
                site: Site::Metrics,
                patience_ms,
                vital: true,
            });
        }
        ports
    }
}
