//! Blobs in spite of everything.

use super::{
    docker_registry::{DockerRegistry, Setup},
    scripted::{Ending, Reply, Scripted},
    *,
};
use crate::error::{Classify as _, Kind, chain};

const MIB: usize = 1 << 20;

fn image(registry: &Scripted) -> Reference {
    reference(&format!("{}/a:1", registry.host()))
}

#[tokio::test]
async fn a_real_registry_gives_blobs() {
    let Some(registry) = DockerRegistry::start(Setup::default()).await else { return };
    let image = reference(&format!("{}/app:v1", registry.host()));
    for length in [1, 5 * MIB] {
        let content = content(length);
        registry.push_blob("app", &content).await;
        let fetched = fetch(&client(), &image, &descriptor(&content), None).await.expect("fetches");
        assert_eq!(fetched, content);
    }
    let error = fetch(&client(), &image, &descriptor(b"unknown"), None).await.expect_err("is not there");
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_real_registry_serves_a_large_blob_over_several_connections() {
    let Some(registry) = DockerRegistry::start(Setup::default()).await else { return };
    let image = reference(&format!("{}/app:v1", registry.host()));
    let client = Client::new(Config { fast: u64::MAX, ..config(Path::new("/nonexistent")) });
    // Of the first, all is asked for as soon as the path is found to be slow; of the second, not.
    for length in [33 * MIB / 2, 21 * MIB + 7] {
        let content = content(length);
        registry.push_blob("app", &content).await;
        let fetched = fetch(&client, &image, &descriptor(&content), None).await.expect("fetches");
        assert!(fetched == content, "content differs");
    }
}

#[tokio::test]
async fn nothing_is_asked_for_an_empty_blob() {
    let registry = Scripted::start(|_| Reply::status(500)).await;
    assert_eq!(fetch(&client(), &image(&registry), &descriptor(b""), None).await.expect("is empty"), b"");
    assert_eq!(registry.seen().len(), 0);
}

#[tokio::test]
async fn a_broken_connection_is_resumed_where_it_broke() {
    let content = content(MIB);
    let served = content.clone();
    let registry = Scripted::start(move |seen| match seen.range() {
        // Each connection gives a quarter.
        range if range.is_none_or(|(first, _)| first < MIB * 3 / 4) => {
            Reply::blob(seen, &served).cut(MIB / 4, Ending::Closed)
        }
        _ => Reply::blob(seen, &served),
    })
    .await;
    let fetched = fetch(&client(), &image(&registry), &descriptor(&content), None).await.expect("fetches");
    assert!(fetched == content, "content differs");
    let ranges: Vec<_> = registry.seen().iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    let quarter = |number: usize| Some(format!("bytes={}-", number * MIB / 4));
    assert_eq!(ranges, [None, quarter(1), quarter(2), quarter(3)]);
}

#[tokio::test]
async fn a_stalled_connection_is_resumed() {
    let content = content(MIB);
    let served = content.clone();
    let registry = Scripted::start(move |seen| match seen.number {
        0 => Reply::blob(seen, &served).cut(MIB / 2, Ending::Hanging),
        _ => Reply::blob(seen, &served),
    })
    .await;
    let fetched = fetch(&client(), &image(&registry), &descriptor(&content), None).await.expect("fetches");
    assert!(fetched == content, "content differs");
    assert_eq!(registry.seen().len(), 2);
}

#[tokio::test]
async fn a_host_without_ranges_is_resumed_from_the_beginning() {
    let content = content(MIB);
    let served = content.clone();
    let registry = Scripted::start(move |seen| match seen.number {
        0 => Reply::ok(served.clone()).cut(MIB / 2, Ending::Closed),
        _ => Reply::ok(served.clone()),
    })
    .await;
    let fetched = fetch(&client(), &image(&registry), &descriptor(&content), None).await.expect("fetches");
    assert!(fetched == content, "content differs");
}

#[tokio::test]
async fn a_host_that_gives_next_to_nothing_is_given_up() {
    let content = content(MIB);
    let served = content.clone();
    let registry = Scripted::start(move |seen| Reply::blob(seen, &served).cut(10, Ending::Closed)).await;
    let error = fetch(&client(), &image(&registry), &descriptor(&content), None).await.expect_err("gives up");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(error.side(), Side::Network);
    assert_eq!(registry.seen().len(), 3);
}

#[tokio::test]
async fn a_busy_registry_gives_the_rest_when_it_wants_to() {
    let content = content(MIB);
    for status in [429, 500, 502, 503, 504] {
        let served = content.clone();
        let busy = move |seen: &super::scripted::Seen| match seen.number {
            0 => Reply::status(status),
            1 => Reply::blob(seen, &served).cut(MIB / 2, Ending::Closed),
            2 => Reply::status(status),
            _ => Reply::blob(seen, &served),
        };
        let registry = Scripted::start(busy).await;
        let fetched = fetch(&patient_client(), &image(&registry), &descriptor(&content), None).await;
        assert!(fetched.unwrap_or_else(|error| panic!("{status}: {}", chain(&error))) == content, "{status}");
        assert_eq!(registry.seen()[3].range(), Some((MIB / 2, None)), "{status}: what had come comes again");
    }

    let (started, served) = (std::time::Instant::now(), content.clone());
    let asks_for_time = move |seen: &super::scripted::Seen| match seen.number {
        0 => Reply::status(429).header("Retry-After", "1"),
        _ => Reply::blob(seen, &served),
    };
    let registry = Scripted::start(asks_for_time).await;
    assert!(
        fetch(&patient_client(), &image(&registry), &descriptor(&content), None).await.expect("fetches") == content
    );
    assert!(started.elapsed() >= Duration::from_secs(1));
    let registry = Scripted::start(|_| Reply::status(503).header("Retry-After", "3600")).await;
    let error =
        fetch(&patient_client(), &image(&registry), &descriptor(b"x"), None).await.expect_err("too long a wait");
    assert_eq!((error.kind(), registry.seen().len()), (Kind::Unavailable, 1));
}

#[tokio::test]
async fn wrong_lengths_are_noticed() {
    let wanted = descriptor(&content(1000));
    let longer = Reply::ok(content(1001));
    let shorter = Reply::ok(content(999));
    let longer_without_length = Reply::ok(content(1001)).length(None);
    let endless = Reply::ok(content(1000)).length(None).ending(Ending::Endless);
    for reply in [longer, shorter, longer_without_length, endless] {
        let registry = Scripted::start(move |_| reply.clone()).await;
        let error = fetch(&client(), &image(&registry), &wanted, None).await.expect_err("has another length");
        assert_eq!(error.kind(), Kind::DataLoss, "{}", chain(&error));
        assert_eq!(error.side(), Side::Registry);
        assert_eq!(registry.seen().len(), 1);
    }
}

#[tokio::test]
async fn content_without_a_length_is_taken_if_it_has_the_right_one() {
    let content = content(1000);
    let reply = Reply::ok(content.clone()).length(None);
    let registry = Scripted::start(move |_| reply.clone()).await;
    assert_eq!(fetch(&client(), &image(&registry), &descriptor(&content), None).await.expect("fetches"), content);
}

#[tokio::test]
async fn other_ranges_than_asked_for_are_refused() {
    let content = content(MIB);
    for range in ["bytes 0-524287/1048576", "bytes 524288-1048575/9", "bytes 524288-2000000/*", "nonsense"] {
        let served = content.clone();
        let registry = Scripted::start(move |seen| match seen.number {
            0 => Reply::blob(seen, &served).cut(MIB / 2, Ending::Closed),
            _ => Reply::ok(served.slice(MIB / 2..)).with_status(206).header("Content-Range", range),
        })
        .await;
        let error = fetch(&client(), &image(&registry), &descriptor(&content), None).await.expect_err("a lie");
        assert_eq!(error.side(), Side::Registry, "{range}: {}", chain(&error));
    }
}

#[tokio::test]
async fn encoded_content_is_refused() {
    let registry = Scripted::start(|_| Reply::ok("1234").header("Content-Encoding", "gzip")).await;
    let error = fetch(&client(), &image(&registry), &descriptor(b"1234"), None).await.expect_err("is encoded");
    assert_eq!(error.side(), Side::Registry);
    assert_eq!(registry.seen()[0].header("accept-encoding"), Some("identity"));
}

/// A client that takes every blob of some size over several connections.
fn parallel_client() -> Client {
    Client::new(Config { fast: u64::MAX, ..config(Path::new("/nonexistent")) })
}

#[tokio::test]
async fn a_large_blob_comes_in_order_although_its_ranges_do_not() {
    let content = content(30 * MIB + 1);
    let served = content.clone();
    let registry = Scripted::start(move |seen| {
        // Later ranges are faster.
        let delay = if seen.number % 3 == 1 { 200 } else { 0 };
        Reply::blob(seen, &served).delay(Duration::from_millis(delay))
    })
    .await;
    let fetched = fetch(&parallel_client(), &image(&registry), &descriptor(&content), None).await.expect("fetches");
    assert!(fetched == content, "content differs");
    let ranges = registry.seen().iter().filter(|seen| seen.range().is_some_and(|(_, end)| end.is_some())).count();
    assert!(ranges >= 3, "{ranges} ranges");
}

#[tokio::test]
async fn ranges_of_a_large_blob_are_resumed_too() {
    let content = content(24 * MIB);
    let served = content.clone();
    let registry = Scripted::start(move |seen| match (seen.range(), seen.number % 2) {
        (Some((first, Some(end))), 0) if end - first > MIB => Reply::blob(seen, &served).cut(MIB, Ending::Closed),
        _ => Reply::blob(seen, &served),
    })
    .await;
    let fetched = fetch(&parallel_client(), &image(&registry), &descriptor(&content), None).await.expect("fetches");
    assert!(fetched == content, "content differs");
}

#[tokio::test]
async fn a_host_that_stops_serving_ranges_is_read_over_one_connection() {
    let content = content(24 * MIB);
    let served = content.clone();
    let registry = Scripted::start(move |seen| match seen.range() {
        Some((_, Some(_))) => Reply::ok(served.clone()),
        _ => Reply::blob(seen, &served),
    })
    .await;
    let fetched = fetch(&parallel_client(), &image(&registry), &descriptor(&content), None).await.expect("fetches");
    assert!(fetched == content, "content differs");
}

#[tokio::test]
async fn fast_hosts_and_small_blobs_get_one_connection() {
    let large = content(24 * MIB);
    let served = large.clone();
    let registry = Scripted::start(move |seen| Reply::blob(seen, &served)).await;
    let client = Client::new(Config { fast: 1, ..config(Path::new("/nonexistent")) });
    fetch(&client, &image(&registry), &descriptor(&large), None).await.expect("fetches");
    assert_eq!(registry.seen().len(), 1);

    let small = content(15 * MIB);
    let served = small.clone();
    let registry = Scripted::start(move |seen| Reply::blob(seen, &served)).await;
    fetch(&parallel_client(), &image(&registry), &descriptor(&small), None).await.expect("fetches");
    assert_eq!(registry.seen().len(), 1);
}

#[tokio::test]
async fn connections_are_used_again() {
    let blob = content(MIB);
    let served = blob.clone();
    let registry = Scripted::start(move |seen| Reply::blob(seen, &served)).await;
    let client = client();
    for _ in 0..5 {
        fetch(&client, &image(&registry), &descriptor(&blob), None).await.expect("fetches");
    }
    let last = registry.seen().last().expect("was asked").connection;
    // The first connection was an attempt at TLS.
    assert!(last <= 1, "{last} connections");
}

#[tokio::test]
async fn dropping_the_stream_ends_the_transfer() {
    let content = content(64 * MIB);
    let served = content.clone();
    let registry = Scripted::start(move |seen| Reply::blob(seen, &served)).await;
    let client = client();
    let mut stream =
        client.blob(&image(&registry), &descriptor(&content), None, &Distrust::default()).await.expect("starts");
    stream.try_next().await.expect("gives").expect("is not empty");
    drop(stream);
    // The script's writes fail when the connection is closed, so nothing is left to be waited for.
    assert_eq!(registry.seen().len(), 1);
}

#[tokio::test]
async fn a_blob_that_the_registry_may_not_have_is_fetched_from_where_its_descriptor_says() {
    let content = content(1000);
    let served = content.clone();
    let foreign = Scripted::start(move |seen| match seen.target.as_str() {
        "/layer?key=1" => Reply::blob(seen, &served),
        _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await;
    let registry = Scripted::start(|_| Reply::status(404)).await;
    let fetch_by = async |urls: &[String]| {
        let blob = Descriptor { urls: urls.to_vec(), ..descriptor(&content) };
        let auth = Auth { server_address: foreign.host(), ..password("user", "pass") };
        fetch(&client(), &image(&registry), &blob, Some(&auth)).await
    };
    let good = format!("http://{}/layer?key=1", foreign.host());
    assert_eq!(fetch_by(&["file:///etc/passwd".to_owned(), good]).await.expect("fetches"), content);

    // Whoever names the address could otherwise collect credentials there.
    fetch_by(&[format!("http://{}/trap", foreign.host())]).await.expect_err("is kept out");
    assert!(foreign.seen().iter().all(|seen| seen.header("authorization").is_none()));
}
