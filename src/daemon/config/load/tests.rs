use super::*;

fn flags(settings: &[&str]) -> Flags {
    Flags { settings: settings.iter().map(|&setting| setting.to_owned()).collect(), ..Default::default() }
}

/// The text of a failure, with its sources.
fn failure(flags: &Flags) -> String {
    crate::error::chain(&load(flags).expect_err("refused"))
}

fn file(text: &str) -> (tempfile::TempDir, Flags) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.toml");
    fs::write(&path, text).expect("writes");
    (directory, Flags { config: Some(path), ..Default::default() })
}

/// Every key of the settings, as `network.mtu`.
fn keys() -> Vec<String> {
    let Ok(Value::Table(table)) = Value::try_from(Settings::default()) else { panic!("settings are a table") };
    keys_of("", &table)
}

fn keys_of(prefix: &str, table: &Table) -> Vec<String> {
    let of = |(key, value): (&String, &Value)| match value {
        Value::Table(section) => keys_of(&format!("{prefix}{key}."), section),
        _ => vec![format!("{prefix}{key}")],
    };
    table.iter().flat_map(of).collect()
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    assert_eq!(toml::from_str::<Settings>(DEFAULTS).expect("parses"), Settings::default());
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let (mut section, mut commented, mut documented) = (String::new(), false, Vec::new());
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            assert!(commented, "{section}{key} has no comment");
            documented.push(format!("{section}{key}"));
        }
        commented = line.starts_with('#');
    }
    documented.sort();
    let mut keys = keys();
    keys.sort();
    assert_eq!(documented, keys);
}

#[test]
fn every_flag_stands_for_a_setting() {
    let word = Some("x".to_owned());
    let all = Flags {
        config: None,
        root: word.clone(),
        state: word.clone(),
        socket: word.clone(),
        log_level: word.clone(),
        log_format: Some(LogFormat::Json),
        metrics_address: word,
        settings: Vec::new(),
    };
    let overrides = all.overrides().expect("fine");
    assert_eq!(overrides.len(), 6);
    for (key, _) in overrides {
        assert!(keys().contains(&key), "{key}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let (_directory, flags) = file("root = \"/r\"\n\n[network]\nmtu = 1500\nbrigde = \"x\"\n");
    let text = failure(&flags);
    assert!(text.contains("config.toml") && text.contains("line 5") && text.contains("brigde"), "{text}");
    let (_directory, flags) = file("[network]\nsubnets = [\"10.0.0.0/99\"]\n");
    let text = failure(&flags);
    assert!(text.contains("line 2"), "{text}");
    let (_directory, flags) = file("[metrics]\naddress = \"nowhere\"\n");
    assert!(failure(&flags).contains("line 2"));
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let (_directory, mut flags) = file("root = \"/r\"\nstate = \"/s\"\n[network]\nmtu = 1500\n");
    flags.state = Some("/flag".to_owned());
    flags.settings = vec!["network.mtu=9000".to_owned(), "network.table = other".to_owned()];
    let settings = load(&flags).expect("fine");
    assert_eq!(settings.root, Path::new("/r"));
    assert_eq!(settings.socket_path(), Path::new("/flag/berth.sock"));
    assert_eq!((settings.network.mtu, settings.network.table.as_str()), (9000, "other"));
    assert_eq!(settings.network.device, Settings::default().network.device);
}

#[test]
fn lists_and_words_can_be_set_by_flag() {
    let set = ["network.subnets=[\"10.9.0.0/16\"]", "socket.group=12", "image.keep_blobs=true", "log.format=json"];
    let settings = load(&flags(&set)).expect("fine");
    assert_eq!(settings.socket.group, "12");
    assert_eq!(settings.network.subnets.len(), 1);
    assert!(settings.image.keep_blobs && settings.log.format == LogFormat::Json);
}

#[test]
fn either_limit_of_writable_layers_stands_for_both() {
    let (limit, maximum) = ("containers.writable_layer_limit=1g", "containers.writable_layer_maximum=2g");
    for (set, shown) in [
        (&[][..], [None, None]),
        (&[limit], [Some("1GiB"), Some("1GiB")]),
        (&[maximum], [Some("2GiB"), Some("2GiB")]),
        (&[limit, maximum], [Some("1GiB"), Some("2GiB")]),
    ] {
        let limits = load(&flags(set)).expect("fine").image().layer_limits;
        let limits = [limits.default, limits.maximum].map(|size| size.map(|size| size.to_string()));
        assert_eq!(limits.each_ref().map(Option::as_deref), shown, "{set:?}");
    }
    let both = ["containers.writable_layer_limit=3g", maximum];
    assert!(failure(&flags(&both)).contains("is more than containers.writable_layer_maximum, 2GiB"));
}

#[test]
fn settings_that_cannot_be_are_refused() {
    for (setting, text) in [
        ("network.mut=1", "unknown field `mut`"),
        ("network.mtu=many", "invalid type: string"),
        ("network.mtu.x=1", "there is no such setting"),
        ("root=relative", "must be an absolute path"),
        ("socket.path=relative", "must be an absolute path"),
        ("network.cni.bin_dirs=[\"relative\"]", "network.cni.bin_dirs"),
        ("cgroup.driver=runc", "unknown variant `runc`"),
        ("runtime.handlers=[\"\"]", "always there"),
        ("containers.writable_layer_limit=much", "\"much\" is not a size"),
        ("containers.writable_layer_maximum=1k", "writable_layer_maximum must be 1MiB at least"),
        ("nonsense", "nonsense"),
    ] {
        let refused = failure(&flags(&[setting]));
        assert!(refused.contains(text), "{setting}: {refused}");
    }
    let named = Flags { config: Some(PathBuf::from("/nonexistent/config.toml")), ..Default::default() };
    assert!(failure(&named).contains("/nonexistent/config.toml"));
}
