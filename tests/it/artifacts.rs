//! OCI artifacts as image volumes: content of a registry that is no image.

use std::collections::BTreeMap;

use berth::wire::{ContainerConfig, Image, ImageSpec, ListImagesRequest, Mount, RemoveImageRequest};
use serde_json::json;
use tonic::Code;

use crate::{
    cli::{berth, code, text},
    images::find,
    pull::pull,
    support::{Archive, Daemon, Registry, container, digest, pod, refusal, shell},
};

const KIND: &str = "application/vnd.example.model";

/// An artifact of files with these names, and the empty configuration that most artifacts have.
fn artifact(files: &[(&str, &[u8])]) -> Archive {
    let mut blobs = BTreeMap::from([(digest(b"{}"), b"{}".to_vec())]);
    let mut layers = Vec::new();
    for (title, content) in files {
        blobs.insert(digest(content), content.to_vec());
        layers.push(json!({
            "mediaType": "application/octet-stream", "digest": digest(content), "size": content.len(),
            "annotations": {"org.opencontainers.image.title": title},
        }));
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": KIND,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2},
        "layers": layers,
    });
    let manifest = serde_json::to_vec(&manifest).expect("JSON");
    let name = digest(&manifest);
    blobs.insert(name.clone(), manifest);
    Archive { blobs, manifest: name }
}

async fn start() -> (Daemon, Registry) {
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let registry = Registry::start().await;
    (daemon, registry)
}

fn mounting(mut config: ContainerConfig, image: &str, sub_path: &str) -> ContainerConfig {
    config.mounts.push(Mount {
        container_path: "/model".to_owned(),
        image: Some(ImageSpec { image: image.to_owned(), ..Default::default() }),
        image_sub_path: sub_path.to_owned(),
        readonly: true,
        ..Default::default()
    });
    config
}

async fn images(daemon: &Daemon) -> Vec<Image> {
    let listed = daemon.image().list_images(ListImagesRequest::default()).await.expect("list images");
    listed
        .into_inner()
        .images
        .into_iter()
        .filter(|image| !image.repo_tags.iter().any(|tag| tag.contains("busybox")))
        .collect()
}

async fn remove(daemon: &Daemon, image: &str) {
    let image = Some(ImageSpec { image: image.to_owned(), ..Default::default() });
    daemon.image().remove_image(RemoveImageRequest { image }).await.expect("remove the image");
}

#[tokio::test]
async fn an_artifact_is_mounted_read_only_by_the_id_that_its_pull_gave() {
    requires!(Root, DockerRegistry);
    let (daemon, registry) = start().await;
    let model = artifact(&[("weights/1", b"one"), ("weights/2", b"two"), ("card.txt", b"a model")]);
    let name = registry.push(&model, "model", "1").await;
    let id = pull(&daemon, &name).await.expect("pull");
    assert_eq!(id, model.manifest, "the configuration is that of other artifacts, too");
    let image = find(&daemon, &id).await.expect("the image");
    assert_eq!((&image.id, &image.repo_tags[..]), (&id, &[name][..]));
    let script = "cd /model; cat card.txt weights/1 weights/2; echo; find . -type f | sort; \
                  if touch x weights/x card.txt 2>/dev/null; then echo written; fi";
    let (status, text) = daemon.run_to_end(&mounting(shell("c", script), &id, "")).await;
    assert_eq!(text, "a modelonetwo\n./card.txt\n./weights/1\n./weights/2\n", "{status:?}");
}

#[tokio::test]
async fn a_part_of_an_artifact_is_mounted_if_it_is_there() {
    requires!(Root, DockerRegistry);
    let (daemon, registry) = start().await;
    let name = registry.push(&artifact(&[("a/b/c", b"deep"), ("d", b"file")]), "model", "1").await;
    let id = pull(&daemon, &name).await.expect("pull");
    let (_, text) = daemon.run_to_end(&mounting(shell("c", "cat /model/c; ls /model"), &id, "a/b")).await;
    assert_eq!(text, "deepc\n");
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let config = mounting(container("missing", &["true"]), &id, "a/x");
    let refused = daemon.try_create(&pod, &config, &pod_config).await.expect_err("there is no such path");
    // kubelet looks for the first word.
    assert!(
        refused.message().starts_with("ImageVolumeMountFailed: ") && refused.message().contains("a/x"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn artifacts_with_one_configuration_are_two_and_names_of_one_are_one() {
    requires!(Root, DockerRegistry);
    let (mut daemon, registry) = start().await;
    let shared = vec![7; 300_000];
    let [one, two] = ["one", "two"].map(|card| artifact(&[("weights", &shared), ("card", card.as_bytes())]));
    let mut names = Vec::new();
    for (model, repository, tag) in [(&one, "model", "1"), (&two, "model", "2"), (&one, "other", "latest")] {
        names.push(registry.push(model, repository, tag).await);
        assert_eq!(pull(&daemon, &names[names.len() - 1]).await.expect("pull"), model.manifest);
    }
    for _ in 0..2 {
        let listed = images(&daemon).await;
        let of =
            |model: &Archive| listed.iter().find(|image| image.id == model.manifest).expect("the artifact").clone();
        assert_eq!((listed.len(), of(&one).repo_tags.len(), of(&two).repo_tags.len()), (2, 2, 1));
        for (model, card) in [(&one, "one"), (&two, "two")] {
            let config = mounting(shell("c", "cat /model/card; wc -c < /model/weights"), &model.manifest, "");
            assert_eq!(daemon.run_to_end(&config).await.1, format!("{card}300000\n"));
        }
        daemon.kill();
        daemon.start_again().await;
    }
    remove(&daemon, &names[1]).await;
    let config = mounting(shell("c", "wc -c < /model/weights"), &names[2], "");
    assert_eq!(daemon.run_to_end(&config).await.1, "300000\n", "the other has the same file");
}

#[tokio::test]
async fn an_artifact_that_is_removed_stays_for_whom_has_mounted_it() {
    requires!(Root, DockerRegistry);
    let (mut daemon, registry) = start().await;
    let model = artifact(&[("a", b"content")]);
    let id = pull(&daemon, &registry.push(&model, "model", "1").await).await.expect("pull");
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let directory = daemon.path("root/image/layers");
    let layers = || std::fs::read_dir(&directory).map_or(0, Iterator::count);
    let without = layers() - 1;
    let created = daemon.create(&pod, &mounting(container("c", &["sleep", "1000"]), &id, ""), &pod_config).await;
    remove(&daemon, &id).await;
    assert!(images(&daemon).await.is_empty());
    daemon.kill();
    daemon.start_again().await;
    daemon.try_start(&created).await.expect("start");
    assert_eq!(daemon.exec(&created, &["cat", "/model/a"]).await, "content");
    daemon.stop(&created, 0).await;
    daemon.remove(&created).await;
    assert_eq!(layers(), without, "its last user is gone");
}

#[tokio::test]
async fn an_artifact_is_no_root_and_hostile_ones_do_not_come_in() {
    requires!(Root, DockerRegistry);
    let (daemon, registry) = start().await;
    let id = pull(&daemon, &registry.push(&artifact(&[("a", b"x")]), "model", "1").await).await.expect("pull");
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let mut config = container("c", &["/a"]);
    config.image.as_mut().expect("an image").image.clone_from(&id);
    let refused = daemon.try_create(&pod, &config, &pod_config).await.expect_err("it is no image");
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains(KIND), "{refused:?}");

    for (number, title) in ["/etc/x", "../x", "a/../../x", "..", "a/"].iter().enumerate() {
        let name = registry.push(&artifact(&[("fine", b"fine"), (title, b"x")]), "hostile", &number.to_string()).await;
        let request = crate::pull::request(&name);
        let (code, message) = refusal(daemon.image().pull_image(request).await);
        assert!(code == Code::InvalidArgument && message.contains("its name"), "{title}: {message}");
    }
    assert_eq!(images(&daemon).await.len(), 1);
}

#[tokio::test]
async fn the_client_shows_pushes_saves_and_removes_artifacts() {
    requires!(Root, DockerRegistry);
    let (daemon, registry) = start().await;
    let model = artifact(&[("a", b"content")]);
    let name = registry.push(&model, "model", "1").await;
    pull(&daemon, &name).await.expect("pull");
    let listed = text(&daemon, &["image", "ls"]).await;
    assert!(listed.contains("/model"), "{listed}");
    let copy = format!("{}/copy/model:2", Registry::ADDRESS);
    let pushed = berth(&daemon, &["image", "push", &name, &copy]).await;
    assert_eq!(code(&pushed), 0, "{pushed:?}");
    let there = registry.get("copy/model/manifests/2").await.text().await.expect("read");
    assert_eq!(digest(there.as_bytes()), model.manifest);

    let archive = daemon.path("model.tar").display().to_string();
    let saved = berth(&daemon, &["image", "save", "-o", &archive, &name]).await;
    assert_eq!(code(&saved), 0, "{saved:?}");
    let removed = berth(&daemon, &["image", "rm", &name]).await;
    assert_eq!(code(&removed), 0, "{removed:?}");
    let refused = daemon.import(std::fs::read(&archive).expect("read"), "").await.expect_err("it is an artifact");
    assert!(refused.message().contains("artifacts can only be pulled"), "{refused:?}");
}
