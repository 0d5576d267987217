use std::{fs, path::Path};

use super::{spec::Spec, *};
use crate::{
    error::{Classify as _, Kind},
    runtime::{cgroup::Access, hooks::Phase},
    types::{ContainerConfig, Propagation},
};

/// Two directories of specifications.
struct Dirs {
    dir: tempfile::TempDir,
}

impl Dirs {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        for name in ["low", "high"] {
            fs::create_dir(dir.path().join(name)).expect("dir");
        }
        Self { dir }
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("write");
    }

    fn edits(&self, devices: &[&str]) -> Result<Edits, Error> {
        let cdi_devices = devices.iter().map(|&device| device.to_owned()).collect();
        self.of(&ContainerConfig { cdi_devices, ..ContainerConfig::default() })
    }

    fn of(&self, config: &ContainerConfig) -> Result<Edits, Error> {
        let dirs = ["low", "high", "absent"].map(|name| self.dir.path().join(name));
        edits(&dirs, &requested(config)?)
    }
}

/// A device that sets a variable.
fn marked(device: &str, mark: &str) -> String {
    let edits = format!(r#"{{"env":["MARK={mark}"]}}"#);
    format!(
        r#"{{"cdiVersion":"0.6.0","kind":"acme.com/gpu","devices":[{{"name":"{device}","containerEdits":{edits}}}]}}"#
    )
}

const YAML: &str = r#"
cdiVersion: "0.7.0"
kind: acme.com/gpu
annotations: { note: "whatever" }
containerEdits:
  env: ["ACME=1"]
  additionalGids: [0, 44]
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/acme0
      hostPath: /dev/null
      permissions: rw
      fileMode: 384
      uid: 7
    mounts:
    - hostPath: /usr
      containerPath: /opt/acme
      options: [ro, nosuid, nodev, rbind, rslave]
- name: one
  containerEdits:
    deviceNodes:
    - { path: /dev/acme1, type: b, major: 200, minor: 1 }
"#;

#[test]
fn a_device_brings_what_its_file_says_and_what_the_host_knows() {
    let dirs = Dirs::new();
    dirs.put("low/acme.yaml", YAML);
    let edits = dirs.edits(&["acme.com/gpu=0", "acme.com/gpu=one"]).expect("there");
    assert_eq!(edits.env, ["ACME=1"], "the file's own part is added once");
    assert_eq!(edits.groups, [44]);
    let access = Access { read: true, write: true, mknod: false };
    let first = Device {
        path: "/dev/acme0".into(),
        host_path: "/dev/null".into(),
        block: false,
        major: 1,
        minor: 3,
        mode: 0o600,
        uid: Some(7),
        gid: None,
        access,
    };
    let second = Device {
        path: "/dev/acme1".into(),
        host_path: "/dev/acme1".into(),
        block: true,
        major: 200,
        minor: 1,
        mode: 0o666,
        uid: None,
        gid: None,
        access: Access::ALL,
    };
    assert_eq!(edits.devices, [first, second]);
    let mount = Mount {
        source: "/usr".into(),
        target: "/opt/acme".into(),
        readonly: true,
        nosuid: true,
        nodev: true,
        propagation: Propagation::HostToContainer,
        ..Mount::default()
    };
    assert_eq!(edits.mounts, [mount]);
}

#[test]
fn annotations_name_devices_too_and_each_is_given_once() {
    let dirs = Dirs::new();
    dirs.put("low/acme.json", &marked("x", "1"));
    let annotations = [("cdi.k8s.io/plugin".to_owned(), "acme.com/gpu=x, acme.com/gpu=x".to_owned())].into();
    let mut config = ContainerConfig { annotations, cdi_devices: vec!["acme.com/gpu=x".into()], ..Default::default() };
    assert_eq!(dirs.of(&config).expect("there").env, ["MARK=1"]);
    config.cdi_devices.clear();
    assert_eq!(dirs.of(&config).expect("there").env, ["MARK=1"]);
    config.annotations = [("cdi.k8s.io/plugin".to_owned(), "nonsense".to_owned())].into();
    assert!(matches!(dirs.of(&config), Err(Error::Name(name)) if name == "nonsense"));
    config.annotations = [("other/plugin".to_owned(), "nonsense".to_owned())].into();
    assert_eq!(dirs.of(&config).expect("no device"), Edits::default());
}

#[test]
fn the_later_directory_wins_and_files_of_one_directory_must_not_differ() {
    let dirs = Dirs::new();
    dirs.put("low/a.json", &marked("x", "low"));
    dirs.put("low/b.json", &marked("x", "low too"));
    let conflict = dirs.edits(&["acme.com/gpu=x"]).expect_err("two files");
    assert!(
        matches!(&conflict, Error::Conflict { first, second, .. } if first.ends_with("a.json") && second.ends_with("b.json"))
    );
    dirs.put("low/c.json", &marked("y", "other"));
    assert_eq!(dirs.edits(&["acme.com/gpu=y"]).expect("no conflict").env, ["MARK=other"]);
    dirs.put("high/z.json", &marked("x", "high"));
    assert_eq!(dirs.edits(&["acme.com/gpu=x"]).expect("the later one").env, ["MARK=high"]);
}

#[test]
fn a_device_that_is_not_there_is_named_with_the_files_that_could_not_be_read() {
    let dirs = Dirs::new();
    dirs.put("low/broken.json", "{");
    dirs.put("low/note.txt", "not a specification");
    dirs.put("high/good.json", &marked("x", "1"));
    assert_eq!(dirs.edits(&["acme.com/gpu=x"]).expect("a broken file is in nobody's way").env, ["MARK=1"]);
    let unknown = dirs.edits(&["acme.com/gpu=y"]).expect_err("unknown");
    assert_eq!(unknown.kind(), Kind::InvalidArgument);
    let text = unknown.to_string();
    assert!(text.starts_with("no CDI device acme.com/gpu=y in ") && text.contains("broken.json: "), "{text}");
    assert!(!text.contains("note.txt"), "{text}");
}

#[test]
fn what_this_engine_has_not_is_refused_for_the_device_that_needs_it() {
    let dirs = Dirs::new();
    let spec = |edits: &str| {
        format!(
            r#"{{"cdiVersion":"1.0.0","kind":"acme.com/gpu","devices":[
                {{"name":"plain","containerEdits":{{"env":["A=1"]}}}},
                {{"name":"special","containerEdits":{edits}}}]}}"#
        )
    };
    for (edits, kind, wanted) in [
        (r#"{"hooks":[{"hookName":"startContainer","path":"/bin/true"}]}"#, Kind::Unimplemented, "startContainer"),
        (r#"{"hooks":[{"hookName":"afterwards","path":"/bin/true"}]}"#, Kind::FailedPrecondition, "afterwards"),
        (r#"{"hooks":[{"hookName":"poststop","path":"bin/true"}]}"#, Kind::FailedPrecondition, "not absolute"),
        (r#"{"hooks":[{"hookName":"poststop","path":"/x","env":["A"]}]}"#, Kind::FailedPrecondition, "NAME=value"),
        (r#"{"intelRdt":{"closID":"x"}}"#, Kind::Unimplemented, "needs Intel RDT classes"),
        (r#"{"env":["=x"]}"#, Kind::FailedPrecondition, "NAME=value"),
        (r#"{"deviceNodes":[{"path":"/dev/absent-device"}]}"#, Kind::FailedPrecondition, "/dev/absent-device"),
        (r#"{"deviceNodes":[{"path":"/etc/passwd"}]}"#, Kind::FailedPrecondition, "not a device"),
        (r#"{"deviceNodes":[{"path":"/dev/null","type":"b"}]}"#, Kind::FailedPrecondition, "not of type"),
        (r#"{"deviceNodes":[{"path":"/dev/null","type":"p"}]}"#, Kind::FailedPrecondition, "neither"),
        (r#"{"deviceNodes":[{"path":"/dev/null","permissions":"x"}]}"#, Kind::FailedPrecondition, "r, w and m"),
        (r#"{"mounts":[{"hostPath":"/absent","containerPath":"/x"}]}"#, Kind::FailedPrecondition, "/absent"),
        (r#"{"mounts":[{"hostPath":"/usr","containerPath":"/x","type":"nfs"}]}"#, Kind::FailedPrecondition, "nfs"),
        (
            r#"{"mounts":[{"hostPath":"/usr","containerPath":"/x","options":["mode=7"]}]}"#,
            Kind::FailedPrecondition,
            "mode=7",
        ),
    ] {
        dirs.put("low/acme.json", &spec(edits));
        let error = dirs.edits(&["acme.com/gpu=special"]).expect_err("refused");
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains("acme.com/gpu=special") && text.contains(wanted), "{edits}: {text}");
        assert_eq!(dirs.edits(&["acme.com/gpu=plain"]).expect("the other device").env, ["A=1"]);
    }
}

#[test]
fn files_that_do_not_follow_the_specification_are_not_used() {
    let ok = r#"{"name":"x","containerEdits":{}}"#;
    for (text, wanted) in [
        (format!(r#"{{"cdiVersion":"0.2.0","kind":"a.b/c","devices":[{ok}]}}"#), "cdiVersion"),
        (format!(r#"{{"cdiVersion":"1.0.0","kind":"nothing","devices":[{ok}]}}"#), "vendor.com/class"),
        (r#"{"cdiVersion":"1.0.0","kind":"a.b/c","devices":[]}"#.to_owned(), "no devices"),
        (format!(r#"{{"cdiVersion":"1.0.0","kind":"a.b/c","devices":[{ok},{ok}]}}"#), "twice"),
        (format!(r#"{{"cdiVersion":"1.0.0","kind":"a.b/c","devices":[{ok}],"surprise":1}}"#), "surprise"),
        (r#"{"cdiVersion":"1.0.0","kind":"a.b/c","devices":[{"name":"-x","containerEdits":{}}]}"#.to_owned(), "name"),
    ] {
        for is_json in [true, false] {
            let refused = Spec::parse(&text, is_json).expect_err("refused");
            assert!(refused.contains(wanted) && !refused.contains('\n'), "{text}: {refused}");
        }
    }
    assert!(Spec::read(Path::new("/absent.json")).is_err());
}

#[test]
fn names_have_a_vendor_a_class_and_a_device() {
    for good in ["vendor.com/class=0", "v/c=a", "v-1.org/net_class=a:b.c-d_e"] {
        assert!(name::split(good).is_some(), "{good}");
    }
    for bad in [
        "",
        "x",
        "vendor.com=0",
        "vendor.com/class",
        "vendor.com/class=",
        "1v/c=x",
        "v/c=-x",
        "v/c=x y",
        "v//c=x",
        "v/c=x/y",
    ] {
        assert!(name::split(bad).is_none(), "{bad}");
    }
}

#[test]
fn hooks_are_read_with_all_that_they_say() {
    let dirs = Dirs::new();
    let hook =
        |phase: &str, more: &str| format!(r#"{{"hooks":[{{"hookName":"{phase}","path":"/usr/bin/vendor"{more}}}]}}"#);
    let device = hook("createContainer", r#","args":["vendor","update"],"env":["A=b"],"timeout":7"#);
    let all = hook("createRuntime", "");
    let spec = format!(
        r#"{{"cdiVersion":"0.6.0","kind":"acme.com/gpu","containerEdits":{all},
            "devices":[{{"name":"0","containerEdits":{device}}}]}}"#
    );
    dirs.put("low/acme.json", &spec);
    let hooks = dirs.edits(&["acme.com/gpu=0"]).expect("edits").hooks;
    let phases: Vec<_> = hooks.iter().map(|hook| hook.phase).collect();
    assert!(phases.contains(&Phase::CreateContainer) && phases.contains(&Phase::CreateRuntime), "{phases:?}");
    let hook = hooks.iter().find(|hook| hook.phase == Phase::CreateContainer).expect("the device's");
    assert_eq!(
        (&hook.args[..], &hook.env[..]),
        (&["vendor", "update"].map(str::to_owned)[..], &["A=b".to_owned()][..])
    );
    assert_eq!(hook.timeout, Some(7));
}
