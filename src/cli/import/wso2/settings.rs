//! The parameters of the adapter's handler.

use crate::cli::import::report::Report;
use crate::cli::import::wso2::objects::{Object, Objects};

/// What of them goes on.
#[derive(Debug)]
pub(super) struct Settings {
    /// Whether callers must be subscribed.
    pub(super) subscriptions: bool,
}

const NO_SUCCESSOR: &str =
    "requests are recorded in the decision log; WSO2's analytics are not fed";

impl Settings {
    /// What the handlers say.
    pub(super) fn of(objects: &Objects, report: &mut Report) -> Self {
        let mut settings = Self {
            subscriptions: true,
        };
        if objects.handlers.is_empty() {
            report.changed("there is no handler in the files: callers must be subscribed, as with `validate_subscription: \"true\"`");
        }
        for handler in &objects.handlers {
            settings.read(handler, report);
        }
        for other in &objects.others {
            report.left_out(format!("{other}: nothing of it is needed"));
        }
        settings
    }

    fn read(&mut self, handler: &Object, report: &mut Report) {
        let params = handler
            .at("/spec/params")
            .and_then(|params| params.as_object());
        let place = |key: &str| format!("handler `{}`: {key}", handler.name());
        for (key, value) in params.into_iter().flatten() {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let place = place(key);
            match key.as_str() {
                "validate_subscription" => self.read_subscription(&place, &text, report),
                "disable_hostname_verification" => {
                    if go_bool(&text) != Some(false) {
                        report.left_out(format!("{place}: `{text}` took every certificate for the key manager's; name its authority with `http: {{ ca: … }}` of the authenticator that asks it"));
                    }
                }
                "request_stream_app_url"
                | "fault_stream_app_url"
                | "throttle_stream_app_url"
                | "grpc_pool_size"
                | "grpc_pool_initial_size" => {
                    report.left_out(format!("{place}: {NO_SUCCESSOR}"));
                }
                _ => report.left_out(format!("{place}: unknown key")),
            }
        }
    }

    fn read_subscription(&mut self, place: &str, text: &str, report: &mut Report) {
        match go_bool(text) {
            Some(true) => {}
            Some(false) => {
                self.subscriptions = false;
                report.changed(format!("{place}: `{text}`: whoever has a token of the issuer may call (`subscription: none`), as before; `required` is safer"));
            }
            None => report.changed(format!("{place}: `{text}` is neither true nor false, and the adapter took it for false: nobody had to be subscribed. Callers must be, from now on")),
        }
    }
}

/// What Go's `strconv.ParseBool` makes of a text, as the adapter did.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
