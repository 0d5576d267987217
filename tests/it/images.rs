//! The image store: import, names, lists, removal.

use berth::wire::{Image, ImageFilter, ImageSpec, ImageStatusRequest, ListImagesRequest, RemoveImageRequest};
use serde_json::json;
use tonic::Code;

use crate::{
    cli::{berth, code, text},
    support::{Archive, BUSYBOX, Compression, Daemon, Layer, Registry, eventually, pod, shell},
};

fn spec(image: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: image.to_owned(), ..Default::default() })
}

pub(crate) async fn find(daemon: &Daemon, image: &str) -> Option<Image> {
    let request = ImageStatusRequest { image: spec(image), verbose: false };
    daemon.image().image_status(request).await.expect("ask for the image").into_inner().image
}

async fn list(daemon: &Daemon) -> Vec<Image> {
    daemon.image().list_images(ListImagesRequest::default()).await.expect("list images").into_inner().images
}

async fn remove(daemon: &Daemon, image: &str) {
    daemon.image().remove_image(RemoveImageRequest { image: spec(image) }).await.expect("remove the image");
}

#[tokio::test]
async fn an_imported_image_is_found_by_all_its_names() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let archive = Archive::busybox();
    let imported = daemon.import(archive.oci_layout(BUSYBOX), "").await.expect("import").images;
    assert_eq!(imported.len(), 1);
    assert_eq!(imported[0].id, archive.id());
    let image = find(&daemon, BUSYBOX).await.expect("the image");
    assert_eq!(image.id, archive.id());
    assert!(image.size > 100_000 && !image.pinned, "{image:?}");
    assert_eq!(image.repo_tags, ["docker.io/library/busybox:latest"]);
    for name in
        ["busybox", "docker.io/library/busybox:latest", &image.id, &image.id["sha256:".len()..], &image.id[7..19]]
    {
        assert_eq!(find(&daemon, name).await.as_ref(), Some(&image), "{name}");
    }
    assert_eq!(find(&daemon, "busybox:other").await, None);
    assert_eq!(list(&daemon).await, [image]);
}

#[tokio::test]
async fn docker_archives_and_compressed_ones_are_taken_too() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let archive = Archive::busybox();
    daemon.import(archive.docker_archive("from-docker:1"), "").await.expect("a docker archive");
    assert_eq!(find(&daemon, "from-docker:1").await.expect("the image").id, archive.id());
    let packed = zstd::encode_all(archive.oci_layout("packed:1").as_slice(), 1).expect("compress");
    daemon.import(packed, "").await.expect("a compressed archive");
    assert_eq!(find(&daemon, "packed:1").await.expect("the image").id, archive.id());
    daemon.import(archive.oci_layout("ignored:1"), "chosen.example/name:2").await.expect("a name of our own");
    assert!(find(&daemon, "chosen.example/name:2").await.is_some() && find(&daemon, "ignored:1").await.is_none());
    // One image with several names is one image.
    assert_eq!(list(&daemon).await.len(), 1);
}

#[tokio::test]
async fn a_new_image_takes_its_name_over() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import(Archive::busybox().oci_layout(BUSYBOX), "").await.expect("import");
    let newer = Archive::busybox().with_config(&json!({ "Labels": { "version": "2" } }));
    daemon.import(newer.oci_layout(BUSYBOX), "").await.expect("import");
    assert_eq!(find(&daemon, BUSYBOX).await.expect("the image").id, newer.id());
}

#[tokio::test]
async fn the_images_user_is_told() {
    requires!(Root);
    let daemon = Daemon::start().await;
    for (user, uid, name) in
        [("", Some(0), ""), ("1002:22", Some(1002), ""), ("app", None, "app"), ("app:audio", None, "app")]
    {
        let image = Archive::busybox().with_config(&json!({ "User": user }));
        daemon.import(image.oci_layout("user:latest"), "").await.expect("import");
        let image = find(&daemon, "user").await.expect("the image");
        assert_eq!((image.uid.map(|uid| uid.value), image.username.as_str()), (uid, name), "{user:?}");
    }
}

#[tokio::test]
async fn images_that_must_not_be_collected_are_marked() {
    requires!(Root);
    let daemon = Daemon::start_with("pinned = [\"docker.io/library/busy*\"]\n").await;
    daemon.import_busybox().await;
    let other = Archive::busybox().with_config(&json!({ "Labels": { "other": "yes" } }));
    daemon.import(other.oci_layout("other:1"), "").await.expect("import");
    let pinned: Vec<_> = list(&daemon).await.into_iter().filter(|image| image.pinned).map(|image| image.id).collect();
    assert_eq!(pinned, [Archive::busybox().id()]);
}

#[tokio::test]
async fn removal_takes_all_names_and_can_be_repeated() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let archive = Archive::busybox();
    daemon.import(archive.oci_layout("one:1"), "").await.expect("import");
    daemon.import(archive.oci_layout("two:2"), "").await.expect("import");
    let removals = (0..5).map(|_| remove(&daemon, "one:1"));
    futures_util::future::join_all(removals).await;
    assert_eq!(find(&daemon, "two:2").await, None);
    assert!(list(&daemon).await.is_empty());
    let fake = format!("sha256:{}", "0".repeat(64));
    remove(&daemon, &fake).await;
    remove(&daemon, &fake).await;
}

#[tokio::test]
async fn a_container_outlives_the_removal_of_its_image() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let answer = daemon.image().remove_image(RemoveImageRequest { image: spec(BUSYBOX) }).await;
    if let Err(status) = answer {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    }
    assert!(!daemon.exec(&id, &["ls", "/bin/busybox"]).await.is_empty());
    let status = daemon.status(&id).await;
    assert!(!status.image_ref.is_empty() && !status.image.expect("an image").image.is_empty());
}

#[tokio::test]
async fn lists_are_filtered_by_name() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import(Archive::busybox().oci_layout("one:1"), "").await.expect("import");
    let other = Archive::busybox().with_config(&json!({ "Labels": { "other": "yes" } }));
    daemon.import(other.oci_layout("two:2"), "").await.expect("import");
    let request = ListImagesRequest { filter: Some(ImageFilter { image: spec("two:2") }) };
    let images = daemon.image().list_images(request).await.expect("list").into_inner().images;
    assert_eq!(images.iter().map(|image| &image.id).collect::<Vec<_>>(), [&other.id()]);
}

#[tokio::test]
async fn layers_of_all_kinds_are_unpacked_over_each_other() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let image = Archive::busybox()
        .with_layer(
            Layer::new()
                .directory("data", 0o750, 1000)
                .file("data/kept", 0o640, 1000, b"kept")
                .file("data/replaced", 0o644, 0, b"old")
                .file("data/removed", 0o644, 0, b"removed")
                .directory("opaque", 0o755, 0)
                .file("opaque/below", 0o644, 0, b"below")
                .symlink("link", "data/kept"),
            Compression::Gzip,
        )
        .with_layer(
            Layer::new()
                .file("data/replaced", 0o4755, 0, b"new")
                .file("data/.wh.removed", 0o644, 0, b"")
                .file(".wh.link", 0o644, 0, b""),
            Compression::Zstd,
        )
        .with_layer(
            Layer::new().file("opaque/.wh..wh..opq", 0o644, 0, b"").file("opaque/above", 0o644, 0, b"above"),
            Compression::None,
        );
    daemon.import(image.oci_layout(BUSYBOX), "").await.expect("import");
    let script = "cd /; stat -c '%n %a %u:%g' data data/*; cat data/replaced; echo; ls -A data opaque; test -L link || echo no link";
    let (_, text) = daemon.run_to_end(&shell("c", script)).await;
    assert_eq!(
        text,
        "data 750 1000:1000\ndata/kept 640 1000:1000\ndata/replaced 4755 0:0\nnew\n\
         data:\nkept\nreplaced\n\nopaque:\nabove\nno link\n"
    );
}

#[tokio::test]
async fn broken_archives_are_refused_and_leave_nothing() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let archive = Archive::busybox();
    let whole = archive.oci_layout(BUSYBOX);
    let mut other_bytes = archive.clone();
    let layer = archive.manifest()["layers"][0]["digest"].as_str().expect("a layer").to_owned();
    other_bytes.blobs.insert(layer.clone(), vec![0; archive.blobs[&layer].len()]);
    let mut missing = archive.clone();
    missing.blobs.remove(&layer);
    let wrong_diff_id = {
        let mut config = archive.config();
        config["rootfs"]["diff_ids"][0] = json!(format!("sha256:{}", "1".repeat(64)));
        let bytes = serde_json::to_vec(&config).expect("JSON");
        let digest = crate::support::digest(&bytes);
        let mut changed = archive.clone();
        changed.blobs.insert(digest.clone(), bytes.clone());
        changed.with_manifest(|manifest| {
            manifest["config"]["digest"] = json!(digest);
            manifest["config"]["size"] = json!(bytes.len());
        })
    };
    for (bytes, what) in [
        (b"not an archive at all".to_vec(), "text"),
        (Vec::new(), "nothing"),
        (whole[..whole.len() / 2].to_vec(), "half an archive"),
        (Layer::new().file("x", 0o644, 0, b"x").tar(), "no index"),
        (other_bytes.oci_layout(BUSYBOX), "a layer of other bytes"),
        (missing.oci_layout(BUSYBOX), "a layer that is missing"),
        (wrong_diff_id.oci_layout(BUSYBOX), "a layer that unpacks to something else"),
        (archive.oci_layout("Not/A valid:name:"), "a name that does not parse"),
    ] {
        let status = daemon.import(bytes, "").await.expect_err(what);
        assert!(
            matches!(status.code(), Code::InvalidArgument | Code::DataLoss | Code::FailedPrecondition),
            "{what}: {status:?}"
        );
        assert!(!status.message().is_empty(), "{what}");
        assert!(list(&daemon).await.is_empty(), "{what}: half an image is there");
    }
    daemon.import(whole, "").await.expect("the whole archive");
}

#[tokio::test]
async fn layers_cannot_write_outside_of_themselves() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let escape = format!("berth-escape-{}", daemon.mark());
    let dots = "../".repeat(20);
    for (layer, what) in [
        (Layer::new().hostile_file(&format!("{dots}tmp/{escape}"), b"x"), "dots"),
        (Layer::new().hostile_file(&format!("/tmp/{escape}"), b"x"), "an absolute path"),
        (Layer::new().symlink("out", "/tmp").file(&format!("out/{escape}"), 0o644, 0, b"x"), "a link"),
        (
            Layer::new().symlink("out", &format!("{dots}tmp")).file(&format!("out/{escape}"), 0o644, 0, b"x"),
            "a link with dots",
        ),
    ] {
        let image = Archive::busybox().with_layer(layer, Compression::Gzip);
        // Refusing it and keeping it inside are both right.
        let _ = daemon.import(image.oci_layout("hostile:latest"), "").await;
        assert!(!std::path::Path::new("/tmp").join(&escape).exists(), "{what} led out");
    }
}

#[tokio::test]
async fn damage_is_found_and_repaired_by_the_next_pull() {
    requires!(Root, DockerRegistry);
    let daemon = Daemon::start().await;
    let registry = Registry::start().await;
    let name = registry.push(&Archive::busybox(), "busybox", "1").await;
    text(&daemon, &["image", "pull", &name]).await;
    let check = async |arguments: &[&str]| {
        let output = berth(&daemon, &[&["image", "check", "--json"], arguments].concat()).await;
        (code(&output), serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON"))
    };
    eventually("the layer has reached the disk", async || check(&[]).await.1["unsealed"] == "0").await;
    let (exit, report) = check(&[]).await;
    assert_eq!((exit, &report["findings"]), (0, &json!([])), "{report}");

    let busybox = glob(&daemon.path("root/image/layers"), "fs/bin/busybox");
    std::fs::File::options()
        .write(true)
        .open(&busybox)
        .expect("open a file of the layer")
        .set_len(100)
        .expect("cut it");
    let config = daemon.path("root/image/blobs/sha256").join(&Archive::busybox().id()["sha256:".len()..]);
    std::fs::write(config, "{}").expect("spoil the configuration");
    let (exit, report) = check(&[]).await;
    assert_eq!((exit, report["findings"].as_array().map(Vec::len)), (1, Some(2)), "{report}");

    let pod_config = pod(&daemon, "user");
    let pod = daemon.run_pod(&pod_config).await;
    let mut container = shell("c", "true");
    container.image.as_mut().expect("an image").image = name.clone();
    daemon.create(&pod, &container, &pod_config).await;
    let (exit, report) = check(&["--repair"]).await;
    assert_eq!(exit, 1, "a container's layers were taken away: {report}");
    daemon.remove_pod(&pod).await;
    let (exit, report) = check(&["--repair"]).await;
    assert_eq!(exit, 0, "{report}");
    assert_eq!(find(&daemon, &name).await, None);

    text(&daemon, &["image", "pull", &name]).await;
    let mut container = shell("c", "echo whole");
    container.image.as_mut().expect("an image").image = name;
    assert_eq!(daemon.run_to_end(&container).await.1, "whole\n");
}

/// The file with this path below the one entry of a directory that has it.
fn glob(directory: &std::path::Path, path: &str) -> std::path::PathBuf {
    let entries =
        std::fs::read_dir(directory).expect("read the directory").map(|entry| entry.expect("an entry").path());
    entries.map(|entry| entry.join(path)).find(|path| path.exists()).expect("the file is somewhere")
}
