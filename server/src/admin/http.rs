//! The HTTP side of administration: what a request asks for, and how an answer is written. Only
//! what `curl`, browsers and Prometheus need: one request a connection, no body read.

use std::fmt::Write;

use super::command::{Command, Question};
use super::json;
use crate::limits::{ADMIN_FIELDS_MAX, ADMIN_HEAD_BYTES_MAX};

/// What a port serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Site {
    /// The commands, below this path (`admin.commandURL`).
    Commands {
        /// Without a slash at its end.
        path: String,
    },
    /// `/metrics` for Prometheus.
    Metrics,
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// It is not complete yet.
    Read,
    /// Nobody has to be asked.
    Say(Response),
    /// The core has the answer, to be sent like this.
    Ask(Question, Form),
}

/// How a question's answer is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form {
    content_type: &'static str,
    head_only: bool,
}

impl Form {
    /// The answer as a response.
    pub fn response(self, body: Vec<u8>) -> Response {
        let Form { content_type, head_only } = self;
        Response { status: Status::Ok, content_type, body, head_only }
    }

    /// What is said when the core does not answer in time.
    pub fn no_answer(self) -> Response {
        Response { head_only: self.head_only, ..plain(Status::Unavailable) }
    }
}

/// The outcomes that occur here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    WrongMethod,
    TooLarge,
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::WrongMethod => "405 Method Not Allowed",
            Status::TooLarge => "431 Request Header Fields Too Large",
            Status::Unavailable => "503 Service Unavailable",
        }
    }
}

/// A complete answer; the connection ends with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    status: Status,
    content_type: &'static str,
    body: Vec<u8>,
    head_only: bool,
}

impl Response {
    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = String::new();
        let Response { status, content_type, body, .. } = self;
        let _ = write!(
            head,
            "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n",
            status.line(),
            body.len(),
        );
        if *status == Status::WrongMethod {
            head.push_str("Allow: GET, HEAD\r\n");
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        if !self.head_only {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

fn plain(status: Status) -> Response {
    let body = format!("{}\n", status.line()).into_bytes();
    Response { status, content_type: "text/plain; charset=utf-8", body, head_only: false }
}

/// What to do after these bytes, all that have arrived so far.
pub fn request(site: &Site, bytes: &[u8]) -> Action {
    let mut fields = [httparse::EMPTY_HEADER; ADMIN_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() < ADMIN_HEAD_BYTES_MAX => return Action::Read,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Action::Say(plain(Status::TooLarge));
        }
        Ok(httparse::Status::Complete(_)) => {}
        Err(_) => return Action::Say(plain(Status::BadRequest)),
    }
    let head_only = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        // ZooKeeper's servlet forbids it by a rule of its own.
        Some("TRACE") => return Action::Say(plain(Status::Forbidden)),
        _ => return Action::Say(plain(Status::WrongMethod)),
    };
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match site {
        Site::Metrics if path == "/metrics" => {
            let content_type = "text/plain; version=0.0.4; charset=utf-8";
            Action::Ask(Question::Metrics, Form { content_type, head_only })
        }
        Site::Metrics => Action::Say(Response { head_only, ..plain(Status::NotFound) }),
        Site::Commands { path: root } => match path.strip_prefix(root.as_str()) {
            Some("" | "/") => Action::Say(Response { head_only, ..list(root) }),
            Some(rest) if rest.starts_with('/') => command(&rest[1..], query, head_only),
            _ => Action::Say(Response { head_only, ..plain(Status::NotFound) }),
        },
    }
}

fn command(name: &str, query: &str, head_only: bool) -> Action {
    let content_type = "application/json";
    let argument = |wanted: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == wanted).map(|(_, value)| value)
    };
    match Command::parse(name, argument) {
        Ok(command) => Action::Ask(Question::Command(command), Form { content_type, head_only }),
        Err(error) => {
            let body = json::failure(error.command(), &error.to_string());
            Action::Say(Form { content_type, head_only }.response(body))
        }
    }
}

/// Links to all commands.
fn list(root: &str) -> Response {
    let mut body = String::new();
    for name in Command::all() {
        let _ = writeln!(body, "<a href=\"{root}/{name}\">{name}</a>\n<br/>");
    }
    let content_type = "text/html; charset=utf-8";
    Response { status: Status::Ok, content_type, body: body.into_bytes(), head_only: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn site() -> Site {
        Site::Commands { path: "/commands".into() }
    }

    fn status(site: &Site, bytes: &[u8]) -> &'static str {
        match request(site, bytes) {
            Action::Read => "incomplete",
            Action::Say(response) => response.status.line(),
            Action::Ask(..) => "asks",
        }
    }

    fn get(target: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
    }

    #[test]
    fn paths_lead_to_commands() {
        for target in ["/commands/ruok", "/commands/mntr?x=1", "/commands/stmk?traceMask=5"] {
            assert_eq!(status(&site(), &get(target)), "asks", "{target}");
        }
        for target in ["/", "/metrics", "/commandsx", "*", "http://a/commands/ruok"] {
            assert_eq!(status(&site(), &get(target)), "404 Not Found", "{target}");
        }
        let metrics = request(&Site::Metrics, &get("/metrics"));
        assert!(matches!(metrics, Action::Ask(Question::Metrics, _)), "{metrics:?}");
        assert_eq!(status(&Site::Metrics, &get("/commands/ruok")), "404 Not Found");
        let Action::Say(list) = request(&site(), &get("/commands")) else { panic!("a list") };
        let text = String::from_utf8(list.bytes()).expect("ASCII");
        let link = "<a href=\"/commands/configuration\">configuration</a>\n<br/>\n";
        assert!(text.contains(link), "{text}");
        assert_eq!(Action::Say(list), request(&site(), &get("/commands/")));
    }

    #[test]
    fn bad_requests_are_told_so() {
        let methods = [
            ("TRACE", "403 Forbidden"),
            ("POST", "405 Method Not Allowed"),
            ("DELETE", "405 Method Not Allowed"),
        ];
        for (method, expect) in methods {
            let bytes = format!("{method} /commands/ruok HTTP/1.1\r\n\r\n");
            assert_eq!(status(&site(), bytes.as_bytes()), expect, "{method}");
        }
        assert_eq!(status(&site(), b"\x00\x00\x00\x2d\x00\x00"), "400 Bad Request");
        assert_eq!(status(&site(), b"GET /commands/ruok HTTP/1.1\r\nHo"), "incomplete");
        let mut long = get(&format!("/{}", "a".repeat(ADMIN_HEAD_BYTES_MAX)));
        long.truncate(ADMIN_HEAD_BYTES_MAX);
        assert_eq!(status(&site(), &long), "431 Request Header Fields Too Large");
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(ADMIN_FIELDS_MAX + 1));
        assert_eq!(status(&site(), many.as_bytes()), "431 Request Header Fields Too Large");
    }

    #[test]
    fn errors_of_commands_are_answers() {
        let body = |target: &str| match request(&site(), &get(target)) {
            Action::Say(response) => String::from_utf8(response.body).expect("ASCII"),
            other => panic!("{other:?}"),
        };
        let unknown = "{\n  \"command\" : \"x\",\n  \"error\" : \"Unknown command: x\"\n}";
        assert_eq!(body("/commands/x"), unknown);
        assert!(body("/commands/stmk").contains("\"command\" : \"set_trace_mask\""));
    }

    #[test]
    fn a_head_has_no_body() {
        let bytes = b"HEAD /commands HTTP/1.0\r\n\r\n";
        let Action::Say(response) = request(&site(), bytes) else { panic!("a list") };
        let text = String::from_utf8(response.bytes()).expect("ASCII");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        assert!(!text.contains("Content-Length: 0"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for site in [site(), Site::Metrics] {
                let _ = request(&site, &bytes);
            }
        }

        #[test]
        fn any_target_is_borne(target in "[ -~]{0,80}") {
            let _ = request(&site(), &get(&target));
            let _ = request(&site(), &get(&format!("/commands/{target}")));
        }
    }
}
