//! Images as volumes.

use berth::wire::{ContainerConfig, ImageSpec, Mount, RemoveImageRequest};
use tonic::Code;

use crate::{
    images::find,
    support::{Archive, Compression, Daemon, Layer, container, pod, refusal, shell},
};

const DATA: &str = "data:latest";

/// A daemon with busybox and an image of data. Returns that one's id, as kubelet names it in a mount.
async fn start() -> (Daemon, String) {
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let layer = Layer::new()
        .directory("set", 0o755, 0)
        .file("set/words", 0o644, 0, b"words\n")
        .file("set/gone", 0o644, 0, b"gone\n")
        .symlink("etc/outside", "/set/words")
        .file("etc/passwd", 0o644, 0, b"of the volume\n");
    let later = Layer::new().file("set/more", 0o644, 0, b"more\n").file("set/.wh.gone", 0o644, 0, b"");
    let image = Archive::busybox().with_layer(layer, Compression::Gzip).with_layer(later, Compression::Zstd);
    daemon.import(image.oci_layout(DATA), "").await.expect("import");
    let id = find(&daemon, DATA).await.expect("the image").id;
    (daemon, id)
}

fn volume(image: &str, sub_path: &str) -> Mount {
    Mount {
        container_path: "/volume".to_owned(),
        image: Some(ImageSpec { image: image.to_owned(), user_specified_image: DATA.to_owned(), ..Default::default() }),
        image_sub_path: sub_path.to_owned(),
        readonly: true,
        ..Default::default()
    }
}

fn with_volume(config: ContainerConfig, mount: Mount) -> ContainerConfig {
    ContainerConfig { mounts: vec![mount], ..config }
}

#[tokio::test]
async fn an_image_or_a_part_of_it_is_mounted_read_only() {
    requires!(Root);
    let (daemon, id) = start().await;
    let script = "cat /volume/set/words /volume/set/more /volume/etc/passwd; test -x /volume/bin/busybox && echo all; \
                  if touch /volume/set/words /volume/new 2>/dev/null; then echo written; fi";
    let (_, text) = daemon.run_to_end(&with_volume(shell("c", script), volume(&id, ""))).await;
    assert_eq!(text, "words\nmore\nof the volume\nall\n");
    let part = with_volume(shell("c", "cd /volume; ls; cat words"), volume(&id, "set"));
    assert_eq!(daemon.run_to_end(&part).await.1, "more\nwords\nwords\n");
}

/// kubelet keeps an image from being collected whose id is in a container's status, letter by letter.
#[tokio::test]
async fn the_status_names_the_image_as_it_was_asked_for() {
    requires!(Root);
    let (daemon, id) = start().await;
    let mount = volume(&id, "set");
    let (status, _) = daemon.run_to_end(&with_volume(shell("c", "true"), mount.clone())).await;
    assert_eq!(status.mounts, [mount]);
}

#[tokio::test]
async fn a_volume_outlives_the_removal_of_its_image_and_a_restart() {
    requires!(Root);
    let (mut daemon, id) = start().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let sleeper = with_volume(container("c", &["sleep", "1000"]), volume(&id, ""));
    let running = daemon.run(&pod, &sleeper, &pod_config).await;
    let waiting = with_volume(container("later", &["sleep", "1000"]), volume(&id, ""));
    let created = daemon.create(&pod, &waiting, &pod_config).await;
    let image = Some(ImageSpec { image: id.clone(), ..Default::default() });
    daemon.image().remove_image(RemoveImageRequest { image }).await.expect("remove the image");
    assert_eq!(find(&daemon, &id).await, None);
    daemon.kill();
    daemon.start_again().await;
    daemon.try_start(&created).await.expect("start what was created before");
    for container in [&running, &created] {
        assert_eq!(daemon.exec(container, &["cat", "/volume/set/more"]).await, "more");
    }
}

#[tokio::test]
async fn volumes_that_cannot_be_are_refused() {
    requires!(Root);
    let (daemon, id) = start().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    for (mount, code, what) in [
        (Mount { readonly: false, ..volume(&id, "") }, Code::InvalidArgument, "a volume that can be written to"),
        (Mount { host_path: "/tmp".into(), ..volume(&id, "") }, Code::InvalidArgument, "an image and a path"),
        (volume(&id, "/set"), Code::InvalidArgument, "an absolute part"),
        (volume(&id, "set/../../.."), Code::InvalidArgument, "dots in the part"),
        (Mount { image: None, ..volume(&id, "set") }, Code::InvalidArgument, "a part of nothing"),
        (volume("no-such-image:latest", ""), Code::NotFound, "an image that is not there"),
    ] {
        let answer = daemon.try_create(&pod, &with_volume(container("c", &["true"]), mount), &pod_config).await;
        let (got, message) = refusal(answer.map(tonic::Response::new));
        assert_eq!(got, code, "{what}: {message}");
    }
}

#[tokio::test]
async fn a_part_that_no_layer_shows_is_refused_at_creation() {
    requires!(Root);
    let (daemon, id) = start().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    for missing in ["set/gone", "set/words/file", "nowhere"] {
        let config = with_volume(container("c", &["true"]), volume(&id, missing));
        let refused = daemon.try_create(&pod, &config, &pod_config).await.expect_err(missing);
        assert_eq!(refused.code(), Code::InvalidArgument, "{missing}");
        // kubelet looks for the first word.
        assert!(refused.message().starts_with("ImageVolumeMountFailed: "), "{refused:?}");
    }
}

#[tokio::test]
async fn links_of_a_volume_do_not_lead_to_the_host() {
    requires!(Root);
    let (daemon, id) = start().await;
    // An absolute link in the image means the image's own file, and one that is followed inside the container's.
    let (_, text) = daemon.run_to_end(&with_volume(shell("c", "cat /volume"), volume(&id, "etc/outside"))).await;
    assert_eq!(text, "words\n");
    let (_, text) = daemon.run_to_end(&with_volume(shell("c", "cat /volume/etc/outside"), volume(&id, ""))).await;
    assert!(text.contains("No such file"), "{text}");
}
