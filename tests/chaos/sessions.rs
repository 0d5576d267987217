//! Sessions with the streaming server, as clients of Kubernetes have them.
//!
//! Their clients are those of other tests, which fail by a panic; here it counts only if nothing explains it.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use futures_util::{FutureExt as _, future::join};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    actor::Actor,
    container::Container,
    support::{
        Daemon, Remote, Spdy, code_in,
        forward::{PROTOCOL, listen, open_pair, talk},
        forward_url,
        web_socket::{CLOSE, Client, STDIN, STDOUT},
    },
};

/// One client of so many vanishes in the middle.
const VANISHING: u32 = 4;
/// Bytes that are sent at most: less than the queues hold, as nobody reads meanwhile.
const MOST: usize = 30_000;

/// Has some session with a container.
pub(crate) async fn converse(actor: &mut Actor<'_>, container: &Container) {
    let id = container.id.as_str();
    let words = noise(&mut actor.chance);
    match actor.chance.u32(..4) {
        0 => hold(actor, container, "exec over SPDY", async |daemon| exec(daemon, id, &words).await).await,
        1 => {
            let session = async |daemon: &Daemon| exec_by_web_socket(daemon, id, &words).await;
            hold(actor, container, "exec over WebSocket", session).await;
        }
        2 if container.is_endless() => {
            let session = async |daemon: &Daemon| attach(daemon, container).await;
            hold(actor, container, "attach over SPDY", session).await;
        }
        _ => {
            let session = async |daemon: &Daemon| forward(daemon, container, &words).await;
            hold(actor, container, "port-forward", session).await;
        }
    }
}

/// Has a session, or vanishes in its middle. One that fails must have a reason.
async fn hold(actor: &mut Actor<'_>, container: &Container, what: &str, session: impl AsyncFnOnce(&Daemon)) {
    actor.say(&format!("{what}, {}", container.id));
    let vanishes = actor.chance.u32(..VANISHING) == 0;
    let limit = Duration::from_millis(if vanishes { actor.chance.u64(..50) } else { u64::MAX });
    let daemon = actor.world.daemon().await;
    let (deaths, begun) = (actor.world.deaths(), actor.world.age());
    let session = AssertUnwindSafe(session(&daemon)).catch_unwind();
    let Ok(Err(panic)) = tokio::time::timeout(limit, session).await else { return };
    let lacked = actor.world.faults.borrow().any_after(begun);
    if actor.world.deaths() == deaths && !lacked && !container.may_have_ended(actor) {
        resume_unwind(panic);
    }
}

/// A text without line ends.
fn noise(chance: &mut fastrand::Rng) -> String {
    let length = chance.usize(1..MOST);
    std::iter::repeat_with(|| chance.alphanumeric()).take(length).collect()
}

/// Has a command say something back.
async fn exec(daemon: &Daemon, id: &str, words: &str) {
    let command = ["sh", "-c", "cat; exit 3"];
    let mut remote = Remote::exec(daemon, id, &command, &["stdin", "stdout"]).await;
    remote.send("stdin", words.as_bytes()).await;
    remote.end("stdin").await;
    assert_eq!(remote.exit_code().await, 3);
    assert_eq!(remote.text("stdout"), words);
}

async fn exec_by_web_socket(daemon: &Daemon, id: &str, words: &str) {
    let command = ["sh", "-c", "cat; exit 5"];
    let mut client = Client::exec(daemon, id, "v5.channel.k8s.io", &command, &["stdin", "stdout"]).await;
    client.send(STDIN, words.as_bytes()).await;
    client.send(CLOSE, &[STDIN]).await;
    assert_eq!(code_in(&client.finish().await), 5);
    assert_eq!(client.text(STDOUT), words);
}

/// Watches a container count.
async fn attach(daemon: &Daemon, container: &Container) {
    let streams: &[&str] = if container.has_terminal { &["stdin", "stdout", "resize"] } else { &["stdout"] };
    let mut remote = Remote::attach(daemon, &container.id, streams).await;
    let stdout = remote.streams["stdout"];
    remote.spdy.hear("some numbers", |heard| heard.text(stdout).matches('\n').count() > 4).await;
    let text = remote.text("stdout");
    // The first and the last line may not be whole.
    let whole = text.split_inclusive('\n').skip(1).filter_map(|line| line.strip_suffix('\n'));
    let numbers: Vec<u64> = whole.map(|line| line.parse().unwrap_or_else(|_| panic!("{text:?}"))).collect();
    assert!(numbers.is_sorted_by(|one, next| one + 1 == *next), "{text:?}");
}

/// Talks to a server in a pod.
async fn forward(daemon: &Daemon, container: &Container, words: &str) {
    let network = (!container.is_on_host_network).then_some(container.pod.as_str());
    let listener = listen(daemon, network, "127.0.0.1:0");
    let port = listener.local_addr().expect("an address").port();
    listener.set_nonblocking(true).expect("set it up");
    let listener = TcpListener::from_std(listener).expect("take it over");
    let serve = async {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        let mut told = String::new();
        connection.read_to_string(&mut told).await.expect("read to the end");
        connection.write_all(format!("heard {told}").as_bytes()).await.expect("answer");
    };
    let ask = async {
        let (mut spdy, _) = Spdy::connect(&forward_url(daemon, &container.pod).await, &[PROTOCOL]).await;
        let pair = open_pair(&mut spdy, port, "0").await;
        talk(&mut spdy, pair, words).await
    };
    let (answer, ()) = join(ask, serve).await;
    assert_eq!(answer, format!("heard {words}"));
}
