use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tonic_health::pb::health_client::HealthClient;

use super::*;

const PREFACE_BYTES: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 0x4;
const DATA: u8 = 0x0;
/// `/run/berth/berth.sock`, Huffman-coded.
const HUFFMAN_PATH: &[u8] = &[0x62, 0xcb, 0x6a, 0x62, 0x32, 0xd8, 0x99, 0xd8, 0x8c, 0xb6, 0x26, 0x75, 0xd0, 0x72, 0x75];

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

fn literal(representation: &[u8], value: &[u8]) -> Vec<u8> {
    [representation, &[u8::try_from(value.len()).unwrap()], value].concat()
}

/// A header block of a call to the health service, with the given representation of `:authority`.
fn block(authority: &[u8]) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    block.extend_from_slice(authority);
    block.extend(literal(&[0x44], b"/grpc.health.v1.Health/Check"));
    block.extend(literal(&[0x5f], b"application/grpc"));
    block.extend(literal(&[0x40, 2, b't', b'e'], b"trailers"));
    block
}

/// A whole call: the header block in one frame and an empty message.
fn call(stream: u8, block: &[u8]) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, stream, block), frame(DATA, END_STREAM, stream, &[0; 5])].concat()
}

fn serve(connection: Connection<DuplexStream>) {
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = tokio_stream::once(Ok::<_, io::Error>(connection));
    tokio::spawn(tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming));
}

/// Reads what the server answers until each of `calls` streams has ended; says with which gRPC status each did.
async fn answers(client: &mut DuplexStream, calls: usize) -> Vec<(u8, String)> {
    let mut decoder = hpack::Decoder::new();
    let mut ended = Vec::new();
    while ended.len() < calls {
        let mut header = [0; FRAME_HEADER];
        client.read_exact(&mut header).await.expect("the server goes on");
        let frame = FrameHeader::read(&header).expect("nine bytes");
        let mut payload = vec![0; frame.length];
        client.read_exact(&mut payload).await.expect("the server goes on");
        match frame.kind {
            HEADERS => {
                let fields = decoder.decode(&payload).expect("the server speaks HPACK");
                if let Some((_, status)) = fields.iter().find(|(name, _)| name == b"grpc-status") {
                    ended.push((frame.stream[3], String::from_utf8_lossy(status).into_owned()));
                }
            }
            0x3 => ended.push((frame.stream[3], format!("reset {payload:?}"))),
            0x7 => panic!("the server hung up: {:?}", String::from_utf8_lossy(&payload)),
            _ => {}
        }
    }
    ended
}

async fn answers_to(requests: &[u8], calls: usize) -> Vec<(u8, String)> {
    let (mut client, server) = duplex(64 * 1024);
    serve(Connection::new(server));
    client.write_all(&[PREFACE_BYTES, &frame(SETTINGS, 0, 0, &[]), requests].concat()).await.expect("writes");
    answers(&mut client, calls).await
}

#[tokio::test]
async fn whatever_the_server_is_called_it_answers() {
    let path = b"/run/berth/berth.sock";
    let huffman = [&[0x41, 0x80 | 15], HUFFMAN_PATH].concat();
    let cases: [(&str, Vec<u8>); 12] = [
        ("absent", Vec::new()),
        ("localhost", literal(&[0x41], b"localhost")),
        ("host and port", literal(&[0x41], b"node.example:1234")),
        ("path, indexed", literal(&[0x41], path)),
        ("path, not indexed", literal(&[0x01], path)),
        ("path, never indexed", literal(&[0x11], path)),
        ("path, Huffman-coded", huffman),
        ("path, name spelled out", literal(b"\x40\x0a:authority", path)),
        ("escaped path", literal(&[0x41], b"%2Frun%2Fberth%2Fberth.sock")),
        ("unix scheme", literal(&[0x41], b"unix:/run/berth/berth.sock")),
        ("empty literal", literal(&[0x41], b"")),
        ("empty from the static table", vec![0x81]),
    ];
    for (name, authority) in cases {
        assert_eq!(answers_to(&call(1, &block(&authority)), 1).await, [(1, "0".to_owned())], "{name}");
    }
}

#[tokio::test]
async fn later_requests_may_refer_to_the_fields_of_earlier_ones() {
    let first = call(1, &block(&literal(&[0x41], b"/run/berth/berth.sock")));
    // Dynamic table: te, content-type, :path, :authority (newest first), so :authority is 65.
    let again = call(3, &[0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
    // The name alone from the dynamic table, with a new value.
    let renamed = [&[0x83, 0x86][..], &literal(&[0x0f, 65 - 15], b"/other.sock"), &[0xc0, 0xbf, 0xbe]].concat();
    let mut statuses = answers_to(&[first, again, call(5, &renamed)].concat(), 3).await;
    statuses.sort();
    assert_eq!(statuses, [1, 3, 5].map(|stream| (stream, "0".to_owned())));
}

#[tokio::test]
async fn padding_priority_and_continuations_are_understood() {
    let block = block(&literal(&[0x41], b"/run/berth/berth.sock"));
    let (start, rest) = block.split_at(7);
    let padded = [&[3][..], &[0, 0, 0, 0, 200], start, &[0; 3]].concat();
    let request = [
        frame(HEADERS, PADDED | PRIORITY, 1, &padded),
        frame(CONTINUATION, 0, 1, &rest[..10]),
        frame(CONTINUATION, END_HEADERS, 1, &rest[10..]),
        frame(DATA, END_STREAM, 1, &[0; 5]),
    ]
    .concat();
    assert_eq!(answers_to(&request, 1).await, [(1, "0".to_owned())]);
}

#[tokio::test]
async fn an_ordinary_client_is_served_many_times_over_one_connection() {
    let (client, server) = duplex(1024);
    serve(Connection::new(server));
    let mut client = Some(hyper_util::rt::TokioIo::new(client));
    let connector = tower::service_fn(move |_| {
        std::future::ready(client.take().ok_or(io::Error::from(io::ErrorKind::NotConnected)))
    });
    let channel = tonic::transport::Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
    let mut health = HealthClient::new(channel.expect("connects"));
    for _ in 0..100 {
        health.check(tonic_health::pb::HealthCheckRequest::default()).await.expect("serving");
    }
}

/// Sends `sent` in pieces of at most `piece` bytes through a connection and returns what comes out.
async fn passed_on(sent: Vec<u8>, piece: usize) -> io::Result<Vec<u8>> {
    let (mut client, server) = duplex(piece);
    let writer = tokio::spawn(async move {
        // The connection may be given up before all is written.
        let _ = client.write_all(&sent).await;
    });
    let mut received = Vec::new();
    let result = Connection::new(server).read_to_end(&mut received).await;
    writer.abort();
    result.map(|_| received)
}

#[tokio::test]
async fn bodies_pass_as_they_are_however_the_bytes_are_cut() {
    let head = [PREFACE_BYTES, &frame(SETTINGS, 0, 0, &[0; 12])].concat();
    let body: Vec<u8> = (0..40_u8)
        .flat_map(|n| frame(DATA, 0, 1, &vec![n; usize::from(n) * 50]))
        .chain(frame(0xfa, 0, 7, b"?"))
        .collect();
    let authority = literal(&[0x41], b"/run/berth/berth.sock");
    let sent = [&head[..], &call(1, &block(&authority)), &body, &call(3, &block(&[0x80 | 65])), &body].concat();
    let whole = passed_on(sent.clone(), 1 << 20).await.expect("reads");

    let fields =
        |authority: &[u8]| hpack::Decoder::new().decode(&block(&literal(&[0x41], authority))).expect("decodes");
    let rewritten = call(1, &hpack::encode(&fields(b"localhost")));
    assert!(whole.starts_with(&[&head[..], &rewritten, &body].concat()));
    assert!(whole.ends_with(&body));
    for piece in [1, 2, 7, 10, 100, 5000] {
        assert!(passed_on(sent.clone(), piece).await.expect("reads") == whole, "cut into {piece}");
    }
}

#[tokio::test]
async fn large_header_blocks_are_cut_into_frames_and_huge_ones_refused() {
    let large = [vec![0, 1, b'x', 0x7f, 0xa1, 0x9b, 0x01], vec![b'v'; 20_000]].concat();
    let sent = |block: &[u8]| {
        let mut bytes = PREFACE_BYTES.to_vec();
        let mut kind = HEADERS;
        for part in block.chunks(10_000) {
            bytes.extend(frame(kind, 0, 1, part));
            kind = CONTINUATION;
        }
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
        bytes
    };
    let received = passed_on(sent(&large), 1 << 20).await.expect("reads");
    let first = FrameHeader::read(&received[PREFACE..]).expect("a frame");
    assert_eq!((first.kind, first.flags, first.length), (HEADERS, 0, MAX_PAYLOAD));
    let second = FrameHeader::read(&received[PREFACE + FRAME_HEADER + MAX_PAYLOAD..]).expect("another frame");
    assert_eq!((second.kind, second.flags, second.length), (CONTINUATION, END_HEADERS, 20_007 - MAX_PAYLOAD));

    passed_on(sent(&large.repeat(10)), 1 << 20).await.expect_err("200 kB of headers");
    let oversized = [PREFACE_BYTES, &frame(HEADERS, END_HEADERS, 1, &vec![0; MAX_PAYLOAD + 1])].concat();
    passed_on(oversized, 1 << 20).await.expect_err("too large a frame");
    let interrupted = [PREFACE_BYTES, &frame(HEADERS, 0, 1, &[0x83]), &frame(DATA, 0, 1, &[])].concat();
    passed_on(interrupted, 1 << 20).await.expect_err("a block in two parts with another frame between");
    for payload in [&[][..], &[9, 0], &[0, 0, 0]] {
        let cut = [PREFACE_BYTES, &frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 1, payload)].concat();
        passed_on(cut, 1 << 20).await.expect_err("a frame shorter than its fields");
    }
}
