//! The network as packets see it, in namespaces of the tests' own.
//!
//! Each test's "host" is a fresh network namespace that only its thread is in; pods and strangers are further ones.
//! Nothing is pinned: all of it goes when the test ends.

mod lifecycle;
mod packets;
mod ports;
mod recovery;

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    path::PathBuf,
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};

use super::{
    Attachment, Config, Error, Network,
    netns::{Connection, Netns},
};
use crate::types::{Id, PodConfig, PortMapping, Protocol};

/// How long a packet may take; and how long is waited for one that must not come.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The namespace that plays the host, and the network in it.
struct Host {
    dir: tempfile::TempDir,
    config: Config,
    network: Option<Arc<Network>>,
    runtime: tokio::runtime::Runtime,
}

/// Runs a test on a host of its own, with a network of the given configuration, if all it needs is here.
fn on_host(needs: &[&str], configure: impl FnOnce(&mut Config) + Send, test: impl FnOnce(&mut Host) + Send) {
    if !nix::unistd::geteuid().is_root() {
        return skip("root");
    }
    for program in needs {
        if Command::new(program).arg("-V").output().is_err() {
            return skip(program);
        }
    }
    thread::scope(|scope| {
        let host = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("new network namespace");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                let here = Connection::here().expect("netlink");
                super::link::set_up(here.handle(), 1).await.expect("loopback up");
            });
            let dir = tempfile::tempdir().expect("directory");
            let mut config = Config { run_dir: dir.path().join("network"), ..Config::default() };
            configure(&mut config);
            let mut host = Host { dir, config, network: None, runtime };
            host.open();
            test(&mut host);
        });
        host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn skip(what: &str) {
    eprintln!("skipped {}: needs {what}", thread::current().name().unwrap_or("test"));
}

impl Host {
    /// Starts the network, as a new daemon would.
    fn open(&mut self) {
        self.network = None;
        self.network = Some(Network::open(self.config.clone()).expect("network"));
    }

    fn network(&self) -> Arc<Network> {
        self.network.clone().expect("open network")
    }

    fn attach(&self, pod: &Pod, ports: &[PortMapping]) -> Attachment {
        self.try_attach(pod, ports).unwrap_or_else(|error| panic!("attach: {}", crate::error::chain(&error)))
    }

    fn try_attach(&self, pod: &Pod, ports: &[PortMapping]) -> Result<Attachment, Error> {
        let config = PodConfig { ports: ports.to_vec(), ..PodConfig::default() };
        self.runtime.block_on(self.network().attach(&pod.id, &pod.path, &config))
    }

    fn detach(&self, pod: &Pod) {
        self.runtime.block_on(self.network().detach(&pod.id)).expect("detach");
    }

    /// Waits until everything that was detached is gone.
    fn settle(&self) {
        self.until("the teardown has ended", || self.leases().is_empty());
    }

    fn leases(&self) -> Vec<String> {
        let Ok(dir) = std::fs::read_dir(self.config.run_dir.join("leases")) else { return Vec::new() };
        dir.map(|entry| entry.expect("entry").file_name().into_string().expect("name")).collect()
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..500 {
            if holds() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("not in time: {what}");
    }

    fn links(&self) -> Vec<String> {
        self.runtime.block_on(async {
            let here = Connection::here().expect("netlink");
            let links = super::link::all(here.handle()).await.expect("links");
            links.into_iter().map(|link| link.name).filter(|name| name != "lo").collect()
        })
    }

    /// The table as the `nft` program shows it.
    fn table(&self) -> String {
        output("nft", &["list", "table", "inet", &self.config.table])
    }

    /// A machine beyond the host: a namespace with 192.0.2.2 and 2001:db8::2 that is linked to the host's 192.0.2.1 and
    /// 2001:db8::1 and knows a way to pods.
    fn stranger(&self) -> Pod {
        let stranger = Pod::new(0xee);
        let netns = format!("/proc/{}/fd/{}", std::process::id(), stranger.netns.file().as_raw_fd());
        ip("link add uplink type veth peer name far");
        ip(&format!("link set far netns {netns}"));
        // A router without a link-local address asks for no neighbours.
        std::fs::write("/proc/sys/net/ipv6/conf/uplink/accept_dad", "0").expect("sysctl");
        ip("link set uplink up");
        ip("addr add 192.0.2.1/24 dev uplink");
        ip("addr add 2001:db8::1/64 dev uplink nodad");
        stranger.inside(|| {
            ip("link set lo up");
            ip("link set far up");
            ip("addr add 192.0.2.2/24 dev far");
            ip("addr add 2001:db8::2/64 dev far nodad");
            ip("route add default via 192.0.2.1");
            ip("route add default via 2001:db8::1");
        });
        stranger
    }
}

/// A pod: an id and a namespace.
struct Pod {
    id: Id,
    netns: Netns,
    path: PathBuf,
}

impl Pod {
    fn new(number: u16) -> Self {
        let mut id = [number as u8; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("new network namespace");
            File::open("/proc/thread-self/ns/net").expect("namespace")
        });
        let file = file.join().expect("thread");
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let netns = Netns::open(&path).expect("namespace");
        let path = PathBuf::from(format!("/proc/self/fd/{}", netns.file().as_raw_fd()));
        Self { id: Id::from_bytes(id), netns, path }
    }

    /// Does something in the pod's namespace.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns.run(|| Ok(work())).expect("namespace")
    }

    fn links(&self) -> Vec<String> {
        Network::usage(&self.path).expect("usage").into_iter().map(|usage| usage.name).collect()
    }
}

fn ip(arguments: &str) -> String {
    output("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// Runs a program in the calling thread's namespace.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn port(protocol: Protocol, host_port: u16, container_port: u16) -> PortMapping {
    PortMapping { protocol, container_port, host_port, host_ip: None }
}

fn v4(attachment: &Attachment) -> IpAddr {
    *attachment.ips.iter().find(|ip| ip.is_ipv4()).expect("IPv4 address")
}

fn v6(attachment: &Attachment) -> IpAddr {
    *attachment.ips.iter().find(|ip| ip.is_ipv6()).expect("IPv6 address")
}

/// Tells every TCP and UDP client what its name is and which address it is seen with. Made in the namespace of the
/// calling thread; ends when dropped.
struct Server {
    tcp: TcpListener,
    udp: UdpSocket,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Server {
    fn start(name: &'static str, port: u16) -> Self {
        let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        Self::on(name, all)
    }

    fn on(name: &'static str, address: SocketAddr) -> Self {
        let tcp = TcpListener::bind(address).expect("TCP server");
        let udp = UdpSocket::bind(address).expect("UDP server");
        let (listener, socket) = (tcp.try_clone().expect("clone"), udp.try_clone().expect("clone"));
        let tcp_thread = thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = write!(stream, "{name} {}", peer.ip().to_canonical());
            }
        });
        let udp_thread = thread::spawn(move || {
            let mut request = [0; 16];
            while let Ok((length, peer)) = socket.recv_from(&mut request) {
                if &request[..length] == b"end" {
                    return;
                }
                let _ = socket.send_to(format!("{name} {}", peer.ip().to_canonical()).as_bytes(), peer);
            }
        });
        Self { tcp, udp, threads: vec![tcp_thread, udp_thread] }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        use nix::sys::socket::{Shutdown, shutdown};
        let _ = shutdown(self.tcp.as_raw_fd(), Shutdown::Both);
        // An unconnected UDP socket says that it is not connected, but wakes its reader all the same.
        let _ = shutdown(self.udp.as_raw_fd(), Shutdown::Both);
        let _ = self.udp.set_nonblocking(true);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// A way to ask a server.
type Ask = fn(IpAddr, u16) -> io::Result<String>;

/// What a server says over TCP to a client of the calling thread's namespace: `NAME ADDRESS`.
fn tcp(to: IpAddr, port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, port), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The same over UDP.
fn udp(to: IpAddr, port: u16) -> io::Result<String> {
    let to = SocketAddr::new(to, port);
    let any: IpAddr = if to.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
    udp_by(&UdpSocket::bind((any, 0))?, to)
}

fn udp_by(socket: &UdpSocket, to: SocketAddr) -> io::Result<String> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"hello", to)?;
    let mut answer = [0; 64];
    let (length, _) = socket.recv_from(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("address")
}
