//! A connection to systemd's manager, `org.freedesktop.systemd1(5)`, by its own socket: no bus daemon is needed.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use super::message::{self, Body, FIXED, Method, Received, kind};

/// Where systemd listens for root.
const SOCKET: &str = "/run/systemd/private";
/// How long systemd may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer of the handshake.
const LONGEST_LINE: usize = 256;

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while a reply was waited for.
    signals: Vec<Received>,
}

impl Bus {
    /// Connects.
    pub(super) fn connect() -> io::Result<Self> {
        Self::open(UnixStream::connect(SOCKET)?)
    }

    /// D-Bus specification, "Authentication Protocol": the kernel vouches for who we are.
    fn open(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Self { stream, serial: 0, signals: Vec::new() };
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        bus.stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let answer = bus.line()?;
        if !answer.starts_with("OK ") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("systemd refuses us: {answer:?}")));
        }
        bus.stream.write_all(b"BEGIN\r\n")?;
        Ok(bus)
    }

    /// Reads a line, and nothing of what follows it.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < LONGEST_LINE {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Calls a method of the manager and waits for its reply.
    ///
    /// # Errors
    /// systemd's own have its words; that there is no such unit is [`io::ErrorKind::NotFound`].
    pub(super) fn call(&mut self, name: &str, signature: &str, body: &Body) -> io::Result<Received> {
        self.serial += 1;
        let method = Method {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            name,
            signature,
        };
        self.stream.write_all(&message::call(self.serial, method, body))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                kind::RETURN if message.reply_to == self.serial => return Ok(message),
                kind::ERROR if message.reply_to == self.serial => return Err(error_of(&message)),
                kind::SIGNAL => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// Calls a method that starts a job, and waits for the job's end.
    ///
    /// # Errors
    /// As [`Bus::call`], and when the job does not end well.
    pub(super) fn run_job(&mut self, name: &str, signature: &str, body: &Body) -> io::Result<()> {
        let reply = self.call(name, signature, body)?;
        let job = reply.body().text()?.to_owned();
        loop {
            let signal = match self.signals.pop() {
                Some(signal) => signal,
                None => self.receive()?,
            };
            match job_result(&signal, &job).as_deref() {
                Some("done") => return Ok(()),
                Some(result) => return Err(io::Error::other(format!("systemd's job ended as {result:?}"))),
                None => {}
            }
        }
    }

    fn receive(&mut self) -> io::Result<Received> {
        let mut fixed = [0; FIXED];
        self.stream.read_exact(&mut fixed)?;
        let (header, body) = message::lengths(&fixed)?;
        let mut bytes = fixed.to_vec();
        bytes.resize(FIXED + header + body, 0);
        self.stream.read_exact(&mut bytes[FIXED..])?;
        Received::parse(&bytes)
    }
}

/// The result that a `JobRemoved(id, job, unit, result)` tells about `job`.
fn job_result(message: &Received, job: &str) -> Option<String> {
    if message.kind != kind::SIGNAL || message.member != "JobRemoved" {
        return None;
    }
    let mut body = message.body();
    let (_id, path, _unit, result) = (body.u32().ok()?, body.text().ok()?, body.text().ok()?, body.text().ok()?);
    (path == job).then(|| result.to_owned())
}

fn error_of(message: &Received) -> io::Error {
    let kind = match message.error.rsplit('.').next() {
        Some("NoSuchUnit") => io::ErrorKind::NotFound,
        Some("UnitExists") => io::ErrorKind::AlreadyExists,
        _ => io::ErrorKind::Other,
    };
    let text = message.body().text().unwrap_or(&message.error).to_owned();
    io::Error::new(kind, text)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    /// A systemd that answers every call with the same messages.
    fn serving(answers: Vec<Vec<u8>>) -> Bus {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        std::thread::spawn(move || {
            let mut reader = BufReader::new(theirs.try_clone().expect("clone"));
            let (mut theirs, mut line) = (theirs, String::new());
            reader.read_line(&mut line).expect("auth");
            assert!(line.starts_with("\0AUTH EXTERNAL "), "{line:?}");
            theirs.write_all(b"OK 0123456789abcdef\r\n").expect("ok");
            line.clear();
            reader.read_line(&mut line).expect("begin");
            assert_eq!(line, "BEGIN\r\n");
            // The answers may be read before the call is written: nothing in them depends on it.
            answers.iter().for_each(|answer| theirs.write_all(answer).expect("answer"));
            let _ = io::copy(&mut reader, &mut io::sink());
        });
        Bus::open(ours).expect("handshake")
    }

    fn signal(job: &str, result: &str) -> Vec<u8> {
        let body = Body::default().number(1).text(job).text("x.scope").text(result);
        message::tests::message(kind::SIGNAL, &[(3, "s", "JobRemoved")], None, &body)
    }

    fn reply(text: &str) -> Vec<u8> {
        message::tests::message(kind::RETURN, &[], Some(1), &Body::default().text(text))
    }

    #[test]
    fn a_job_is_waited_for_whatever_comes_first() {
        let mut bus = serving(vec![signal("/job/8", "failed"), reply("/job/7"), signal("/job/7", "done")]);
        bus.run_job("StopUnit", "ss", &Body::default()).expect("done");
        let mut bus = serving(vec![signal("/job/7", "done"), reply("/job/7")]);
        bus.run_job("StopUnit", "ss", &Body::default()).expect("done before the reply");
    }

    #[test]
    fn a_failed_job_and_a_refused_call_say_why() {
        let mut bus = serving(vec![reply("/job/7"), signal("/job/7", "timeout")]);
        let error = bus.run_job("StartTransientUnit", "", &Body::default()).expect_err("failed");
        assert_eq!(error.to_string(), "systemd's job ended as \"timeout\"");

        let name = [(4, "s", "org.freedesktop.systemd1.NoSuchUnit")];
        let refusal = message::tests::message(kind::ERROR, &name, Some(1), &Body::default().text("Unit not loaded."));
        let error = serving(vec![refusal]).call("StopUnit", "ss", &Body::default()).expect_err("refused");
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::NotFound, "Unit not loaded."));
    }
}
