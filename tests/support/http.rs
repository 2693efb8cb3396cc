//! HTTP/1.1 without a library in between: what a test writes is what goes over the wire, and what
//! came over the wire is what it reads. Not for HTTP/2.

use std::fmt::{self, Write as _};
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::PATIENCE;
use super::script::{Script, Stream};

/// A request as a fake received it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// In order, duplicates included, names as sent.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A response as a client received it.
#[derive(Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// In order, duplicates included, names as sent.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The status line and the headers, byte for byte.
    pub(crate) head: String,
}

/// What a fake does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Responds.
    Respond {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// Switches protocols to what the request asked for and echoes every byte from there on.
    Upgrade,
    /// Never responds.
    Silence,
    /// Writes what no honest server would, and closes the connection.
    Play(Script),
}

impl Answer {
    /// A response with a JSON body.
    pub(crate) fn json(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self::Respond {
            status,
            headers,
            body: body.into(),
        }
    }
}

impl Request {
    /// Every value of a header, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.head, self.text())
    }
}

impl Response {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    /// Every value of a header, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The public code of a denial: what follows `urn:portcullis:denial:` in its `type`.
    pub(crate) fn denial_code(&self) -> Option<String> {
        let body = self.json();
        let code = body
            .get("type")?
            .as_str()?
            .strip_prefix("urn:portcullis:denial:")?;
        Some(code.to_owned())
    }
}

/// Sends `bytes` as they are over a new connection and reads one response.
///
/// # Panics
/// Where the connection fails, or closes before the response is complete.
pub(crate) fn raw_request(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    let bytes = bytes.as_ref();
    let response = Connection::open(address).and_then(|mut connection| connection.send(bytes));
    response.unwrap_or_else(|error| {
        panic!(
            "no response to {:?}: {error}",
            String::from_utf8_lossy(bytes)
        )
    })
}

/// Sends a GET request over a new connection.
pub(crate) fn get(
    address: SocketAddr,
    host: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Response {
    raw_request(address, request_bytes("GET", host, target, headers))
}

/// Sends a POST request with a body over a new connection.
pub(crate) fn post(
    address: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let length = body.len().to_string();
    let headers = [headers, &[("content-length", length.as_str())]].concat();
    let mut bytes = request_bytes("POST", &address.to_string(), target, &headers);
    bytes.extend(body.as_bytes());
    raw_request(address, bytes)
}

/// The bytes of a request without body. Nothing is escaped or checked.
pub(crate) fn request_bytes(
    method: &str,
    host: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("a string takes text");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A connection that a client keeps open for one request after the other.
#[derive(Debug)]
pub(crate) struct Connection<S = TcpStream> {
    stream: S,
    /// What was read beyond the last response.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }
}

impl<S: Read + Write> Connection<S> {
    /// One over a stream that is there.
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends `bytes` as they are and reads one response, skipping interim ones.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<Response> {
        self.stream.write_all(bytes)?;
        let has_body = !bytes.starts_with(b"HEAD ");
        loop {
            let response = self.read_response(has_body)?;
            if response.status == 101 || response.status >= 200 {
                return Ok(response);
            }
        }
    }

    /// Sends `bytes` and reads as many back, after an upgrade.
    pub(crate) fn echo(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(bytes)?;
        self.take(bytes.len())
    }

    fn read_response(&mut self, has_body: bool) -> io::Result<Response> {
        let head = self.read_head()?;
        let (first, headers) = parse_head(&head);
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status: u16 =
            status.ok_or_else(|| io::Error::other(format!("no status line: {first:?}")))?;
        let header = |name| values(&headers, name).first().copied();
        let body = if !has_body || status < 200 || status == 204 || status == 304 {
            Vec::new()
        } else if header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            self.read_chunks()?
        } else if let Some(length) = header("content-length").and_then(|length| length.parse().ok())
        {
            self.take(length)?
        } else {
            self.read_to_end()?
        };
        Ok(Response {
            status,
            headers,
            body,
            head,
        })
    }

    fn read_head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = head_end(&self.buffer) {
                return Ok(String::from_utf8_lossy(&self.take(end)?).into_owned());
            }
            self.read_more()?;
        }
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .map_err(io::Error::other)?;
            body.extend(self.take(size)?);
            self.read_line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.take(end + 2)?;
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.read_more()?;
        }
    }

    fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.buffer)?;
        Ok(std::mem::take(&mut self.buffer))
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.read_more()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut more = [0; 16 * 1024];
        match self.stream.read(&mut more)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend(more.iter().take(count));
                Ok(())
            }
        }
    }
}

/// Serves one connection: reads requests and does with each what `answer` says, until the other
/// side closes.
pub(crate) async fn serve<F>(mut stream: impl Stream, answer: impl Fn(Request) -> F)
where
    F: Future<Output = Answer>,
{
    let mut buffer = Vec::new();
    while let Ok(request) = read_request(&mut stream, &mut buffer).await {
        let head_only = request.method == "HEAD";
        let protocol = request.values("upgrade").first().map(ToString::to_string);
        let sent = match answer(request).await {
            Answer::Respond {
                status,
                headers,
                body,
            } => {
                let mut message = format!(
                    "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n",
                    body.len()
                );
                for (name, value) in headers {
                    write!(message, "{name}: {value}\r\n").expect("a string takes text");
                }
                message.push_str("\r\n");
                if !head_only {
                    message.push_str(&body);
                }
                stream.write_all(message.as_bytes()).await
            }
            Answer::Upgrade => return upgrade(stream, protocol.as_deref().unwrap_or("echo")).await,
            Answer::Silence => std::future::pending().await,
            Answer::Play(script) => return script.play(stream).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn upgrade(mut stream: impl Stream, protocol: &str) {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
    );
    if stream.write_all(head.as_bytes()).await.is_ok() {
        let (mut from, mut to) = tokio::io::split(stream);
        // The other side ends the echo by closing.
        let _ended = tokio::io::copy(&mut from, &mut to).await;
    }
}

async fn read_request(stream: &mut impl Stream, buffer: &mut Vec<u8>) -> io::Result<Request> {
    let end = loop {
        if let Some(end) = head_end(buffer) {
            break end;
        }
        read_more(stream, buffer).await?;
    };
    let head: Vec<u8> = buffer.drain(..end).collect();
    let (first, headers) = parse_head(&String::from_utf8_lossy(&head));
    let mut words = first.split(' ').map(ToOwned::to_owned);
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let length = values(&headers, "content-length")
        .first()
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    while buffer.len() < length {
        read_more(stream, buffer).await?;
    }
    let body = buffer.drain(..length).collect();
    Ok(Request {
        method,
        target,
        headers,
        body,
    })
}

async fn read_more(stream: &mut impl Stream, buffer: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|start| start + 4)
}

fn parse_head(head: &str) -> (String, Vec<(String, String)>) {
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let headers = lines.map(|line| line.split_once(':').unwrap_or((line, "")));
    (
        first,
        headers
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
    )
}

fn values<'a>(headers: &'a [(String, String)], wanted: &str) -> Vec<&'a str> {
    let matching = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    matching.map(|(_, value)| value.as_str()).collect()
}
