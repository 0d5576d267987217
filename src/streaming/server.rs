//! The HTTP side: `/exec/<token>`, `/attach/<token>` and `/portforward/<token>`, each an upgrade.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    Backend, Error, Streams, Ticket,
    hangup::HangUp,
    portforward::{self, Target},
    remote::{self, Client},
    spdy::{self, Opened},
    status::Form,
    token::Tokens,
    websocket,
};

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
/// How long a client may take to send its request, and then to open the streams of its session.
const OPENING: Duration = Duration::from_secs(30);
/// SPDY's remotecommand protocols, the best first, and how each tells the end.
const REMOTE_PROTOCOLS: [(&str, Form); 4] = [
    ("v4.channel.k8s.io", Form::Json),
    ("v3.channel.k8s.io", Form::Text),
    ("v2.channel.k8s.io", Form::Text),
    ("channel.k8s.io", Form::Text),
];
const PORT_FORWARD: &str = "portforward.k8s.io";

type Answer = Response<Full<Bytes>>;
/// A client's connection once it is upgraded, and its end.
type Connection = (OnUpgrade, Arc<HangUp>);

/// Serves streaming sessions on an address of this host.
pub struct Server {
    tokens: Tokens,
    backend: Arc<dyn Backend>,
    address: SocketAddr,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens on `address` (port 0 for any) and serves for as long as the runtime runs.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(address: SocketAddr, backend: Arc<dyn Backend>) -> Result<Arc<Self>, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let server = Arc::new(Self { tokens: Tokens::default(), backend, address });
        tokio::spawn(Arc::clone(&server).listen(listener));
        Ok(server)
    }

    /// The URL under which a client finds a session; it works once and for a minute.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn url(&self, ticket: Ticket) -> Result<String, Error> {
        let path = match ticket {
            Ticket::Exec { .. } => "exec",
            Ticket::Attach { .. } => "attach",
            Ticket::PortForward { .. } => "portforward",
        };
        Ok(format!("http://{}/{path}/{}", self.address, self.tokens.issue(ticket)?))
    }

    async fn listen(self: Arc<Self>, listener: TcpListener) {
        loop {
            let connection = match listener.accept().await {
                Ok((connection, _)) => connection,
                Err(error) => {
                    tracing::warn!(%error, "a streaming client could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let _ = connection.set_nodelay(true);
            let hang_up = match HangUp::watch(&connection) {
                Ok(hang_up) => Arc::new(hang_up),
                Err(error) => {
                    tracing::warn!(%error, "a streaming client could not be watched");
                    continue;
                }
            };
            let server = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = server.answer(request, &hang_up);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(OPENING);
                let connection = http.serve_connection(TokioIo::new(connection), service).with_upgrades();
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a streaming connection ended early");
                }
            });
        }
    }

    fn answer(self: &Arc<Self>, mut request: Request<Incoming>, hang_up: &Arc<HangUp>) -> Answer {
        if request.method() != Method::GET && request.method() != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "GET or POST");
        }
        let token = request.uri().path().rsplit('/').next().unwrap_or_default();
        let Some(ticket) = self.tokens.redeem(token) else {
            return plain(StatusCode::NOT_FOUND, "no session waits under this token");
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let headers = request.headers();
        let client = (upgrade, Arc::clone(hang_up));
        if has_word(headers, header::UPGRADE, "websocket") {
            self.websocket(headers, request.uri().query().unwrap_or_default(), ticket, client)
        } else if has_word(headers, header::UPGRADE, "SPDY/3.1") {
            self.spdy(headers, ticket, client)
        } else {
            plain(StatusCode::BAD_REQUEST, "an upgrade to SPDY/3.1 or websocket is needed")
        }
    }

    fn spdy(self: &Arc<Self>, headers: &HeaderMap, ticket: Ticket, (upgrade, hang_up): Connection) -> Answer {
        let offered = words(headers, STREAM_PROTOCOL);
        let known: &[&str] = match ticket {
            Ticket::PortForward { .. } => &[PORT_FORWARD],
            _ => &REMOTE_PROTOCOLS.map(|(name, _)| name),
        };
        // A client that names nothing speaks the first version.
        let chosen = if offered.is_empty() { known.last() } else { known.iter().find(|name| offered.contains(name)) };
        let Some(chosen) = chosen.copied() else {
            return forbidden(known);
        };
        let form = REMOTE_PROTOCOLS.iter().find(|(name, _)| *name == chosen).map_or(Form::Text, |(_, form)| *form);
        let resizes = chosen != "v2.channel.k8s.io" && chosen != "channel.k8s.io";
        let server = Arc::clone(self);
        tokio::spawn(async move {
            if let Ok(io) = upgrade.await {
                hang_up.limit(server.serve_spdy(TokioIo::new(io), ticket, form, resizes)).await;
            }
        });
        switching("SPDY/3.1", Some((STREAM_PROTOCOL, chosen)))
    }

    async fn serve_spdy<S>(self: Arc<Self>, io: S, ticket: Ticket, form: Form, resizes: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.target(&ticket) {
            Some(target) => spdy::serve(io, |streams| portforward::run(target, streams)).await,
            None => {
                let run = |mut opened: mpsc::Receiver<Opened>| async move {
                    let streams = streams_of(&ticket);
                    let client = timeout(OPENING, collect(&mut opened, streams, resizes, form)).await;
                    if let Ok(Some(client)) = client {
                        let _ = self.run_remote(ticket, client).await;
                    }
                };
                spdy::serve(io, run).await;
            }
        }
    }

    fn websocket(
        self: &Arc<Self>,
        headers: &HeaderMap,
        query: &str,
        ticket: Ticket,
        (upgrade, hang_up): Connection,
    ) -> Answer {
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
            return plain(StatusCode::BAD_REQUEST, "a websocket key is needed");
        };
        let accept = derive_accept_key(key.as_bytes());
        let offered = words(headers, header::SEC_WEBSOCKET_PROTOCOL);
        let tunnelled = matches!(ticket, Ticket::PortForward { .. }) && offered.contains(&websocket::TUNNEL);
        let Some(protocol) = websocket::choose(&offered).or(if tunnelled { websocket::choose(&[]) } else { None })
        else {
            return plain(StatusCode::BAD_REQUEST, "none of the websocket protocols is known");
        };
        let name = match (tunnelled, offered.is_empty()) {
            (true, _) => Some(websocket::TUNNEL),
            (false, true) => None,
            (false, false) => Some(protocol.name),
        };
        let (server, ports) = (Arc::clone(self), websocket::ports_in(query));
        tokio::spawn(async move {
            let Ok(io) = upgrade.await else { return };
            let socket = websocket::accept(TokioIo::new(io)).await;
            let session = async {
                match server.target(&ticket) {
                    Some(target) if tunnelled => {
                        spdy::serve(websocket::tunnel(socket), |streams| portforward::run(target, streams)).await;
                    }
                    Some(target) => {
                        let ports = if ports.is_empty() { target.ports.to_vec() } else { ports };
                        websocket::serve_ports(socket, protocol, target, ports).await;
                    }
                    None => {
                        let streams = streams_of(&ticket);
                        let run = |client| server.run_remote(ticket, client);
                        websocket::serve_remote(socket, protocol, streams, run).await;
                    }
                }
            };
            hang_up.limit(session).await;
        });
        let mut answer = switching("websocket", name.map(|name| (header::SEC_WEBSOCKET_PROTOCOL, name)));
        if let Ok(accept) = HeaderValue::from_str(&accept) {
            answer.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        answer
    }

    fn target(&self, ticket: &Ticket) -> Option<Target> {
        match ticket {
            Ticket::PortForward { pod, ports } => {
                Some(Target { backend: Arc::clone(&self.backend), pod: pod.clone(), ports: ports.as_slice().into() })
            }
            _ => None,
        }
    }

    /// Begins the session that a ticket stands for and copies it to its client.
    async fn run_remote(&self, ticket: Ticket, client: Client) -> Result<(), super::channel::Gone> {
        let session = match ticket {
            Ticket::Exec { container, command, streams } => self.backend.exec(container, command, streams).await,
            Ticket::Attach { container, streams } => self.backend.attach(container, streams).await,
            Ticket::PortForward { .. } => return Ok(()),
        };
        match session {
            Ok(session) => remote::run(session, client).await,
            Err(sentence) => remote::refuse(sentence, client).await,
        }
    }
}

fn streams_of(ticket: &Ticket) -> Streams {
    match ticket {
        Ticket::Exec { streams, .. } | Ticket::Attach { streams, .. } => *streams,
        Ticket::PortForward { .. } => Streams::default(),
    }
}

/// Waits until the client has opened all streams of its session; `None` when it goes before.
async fn collect(opened: &mut mpsc::Receiver<Opened>, wanted: Streams, resizes: bool, form: Form) -> Option<Client> {
    let (mut stdin, mut stdout, mut stderr, mut error, mut resize) = (None, None, None, None, None);
    let wants_stderr = wanted.stderr && !wanted.tty;
    loop {
        let complete = error.is_some()
            && (stdin.is_some() || !wanted.stdin)
            && (stdout.is_some() || !wanted.stdout)
            && (stderr.is_some() || !wants_stderr)
            && (resize.is_some() || !(wanted.tty && resizes));
        if complete {
            return error.map(|error| Client { stdin, stdout, stderr, error, resize, form, announce: false });
        }
        let Opened { headers, inbound, outbound, reset: _ } = opened.recv().await?;
        match headers.get("streamtype").map(String::as_str) {
            Some("stdin") => stdin = Some(inbound),
            Some("stdout") => stdout = Some(outbound),
            Some("stderr") => stderr = Some(outbound),
            Some("error") => error = Some(outbound),
            Some("resize") => resize = Some(inbound),
            _ => {
                let _ = outbound.reset().await;
            }
        }
    }
}

/// The comma-separated words of all headers of a name.
fn words(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty()).collect()
}

fn has_word(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    words(headers, name).iter().any(|found| found.eq_ignore_ascii_case(word))
}

fn switching(to: &'static str, protocol: Option<(HeaderName, &'static str)>) -> Answer {
    let mut answer = plain(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(to));
    if let Some((name, value)) = protocol {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Tells a client that none of its protocols is known, and which are.
fn forbidden(known: &[&'static str]) -> Answer {
    let mut answer = plain(StatusCode::FORBIDDEN, "none of the stream protocols is known");
    for name in known {
        answer.headers_mut().append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(name));
    }
    answer
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer
}
