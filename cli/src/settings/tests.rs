use std::fs;

use super::*;

fn nothing(_: &str) -> Option<OsString> {
    None
}

fn resolve(
    file: &str,
    flags: &[(&'static str, &str)],
    environment: &[(&str, &str)],
) -> Result<Settings, HiveError> {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("config.toml"), file).unwrap();
    let flags = flags.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    Settings::resolve(home.path().to_owned(), &flags, &|name| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    })
}

#[test]
fn defaults_are_what_the_design_says() {
    let settings = resolve("", &[], &[]).unwrap();
    assert_eq!(settings.network, "main");
    assert_eq!(settings.listen.len(), 4);
    assert_eq!(settings.api, Some(([127, 0, 0, 1], 4484).into()));
    assert_eq!(settings.share, Visibility::Local);
    assert!(settings.mdns && !settings.allow_private);
    assert!(settings.upnp && !settings.lan_only && !settings.no_relays);
    assert_eq!((settings.metrics, settings.wss), (None, None));
    assert_eq!(settings.serving, Serving::default());
    assert_eq!((settings.quota, settings.upload_limit, settings.reserve), (None, None, None));
    assert!(settings.origins.iter().all(|(_, _, source)| *source == Source::Default));
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "network = \"of-file\"\nlisten = [\"/ip4/1.1.1.1/tcp/1\", \"/ip4/2.2.2.2/tcp/2\"]\nmdns = false\nquota = 12\n";
    let source = |settings: &Settings, name: &str| {
        settings.origins.iter().find(|(key, ..)| key.name == name).unwrap().2.clone()
    };

    let settings = resolve(file, &[], &[]).unwrap();
    assert_eq!(settings.network, "of-file");
    assert_eq!(settings.listen, ["/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2"]);
    assert_eq!((settings.mdns, settings.quota), (false, Some(12)));
    assert_eq!(source(&settings, "network"), Source::File);

    let environment = [(env::HIVE_NETWORK, "of-env"), (env::HIVE_LISTEN, "/a/b, /c/d")];
    let settings = resolve(file, &[], &environment).unwrap();
    assert_eq!(settings.network, "of-env");
    assert_eq!(settings.listen, ["/a/b", "/c/d"]);
    assert_eq!(source(&settings, "network"), Source::Environment(env::HIVE_NETWORK));

    let settings = resolve(file, &[("network", "of-flag")], &environment).unwrap();
    assert_eq!(settings.network, "of-flag");
    assert_eq!(source(&settings, "network"), Source::Flag);
    assert_eq!(source(&settings, "mdns"), Source::File);
    assert_eq!(source(&settings, "dht"), Source::Default);
}

#[test]
fn empty_variable_is_no_variable() {
    let settings = resolve("network = \"of-file\"", &[], &[(env::HIVE_NETWORK, "")]).unwrap();
    assert_eq!(settings.network, "of-file");
}

#[test]
fn wrong_values_name_the_key_and_where_it_stands() {
    for (name, value) in [
        ("network", "a/b"),
        ("listen", "localhost:4483"),
        ("bootstrap", "/ip4/1.2.3.4/tcp/4483"),
        ("api", "0.0.0.0:4484"),
        ("api", "4484"),
        ("share", "everyone"),
        ("name", "a\u{202E}b"),
        ("name", "bee\n"),
        ("name", "bee (hive/9.9.9)"),
        ("mdns", "maybe"),
        ("dht", "sometimes"),
        ("upload-limit", "0"),
        ("quota", "lots"),
        ("reserve", "-1"),
        ("provider-timeout", "soon"),
        ("chat-history", "maybe"),
        ("relay", "/ip4/1.2.3.4/tcp/4483"),
        ("upnp", "maybe"),
        ("lan-only", "7"),
        ("external", "1.2.3.4:4483"),
        ("metrics", "9464"),
        ("allow-bulk", "0"),
        ("allow-peers", "kitchen"),
        ("peer-budget", "0"),
        ("network-time", "0s"),
        ("max-circuits", "0"),
        ("wss", "0"),
        ("wss", "65536"),
    ] {
        let error = resolve("", &[(name, value)], &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.messages[0].contains(&format!("`{name}` (flag)")), "{error}");
    }
}

#[test]
fn file_that_is_wrong_is_told_and_not_ignored() {
    for (file, told) in [
        ("netwrok = \"x\"", "unknown key `netwrok`"),
        ("[network]\nname = \"x\"", "strange type"),
        ("network = 1.5", "strange type"),
        ("network = ", "not TOML"),
    ] {
        let error = resolve(file, &[], &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage, "{file}");
        assert!(error.messages[0].contains(told), "{file}: {error}");
    }
}

#[test]
fn setting_a_key_keeps_comments_and_order() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.toml");
    fs::write(&path, "# mine\nnetwork = \"a\" # why\n\n# end\nmdns = true\n").unwrap();
    let mut file = ConfigFile::load(home.path()).unwrap();
    file.set(keys::find("network").unwrap(), Some("b"));
    file.set(keys::find("bootstrap").unwrap(), Some("/a/p2p/x,/b/p2p/y"));
    file.set(keys::find("mdns").unwrap(), None);
    file.save().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# mine\nnetwork = \"b\" # why\n"), "{text}");
    assert!(text.contains("bootstrap = [\"/a/p2p/x\", \"/b/p2p/y\"]"), "{text}");
    assert!(!text.contains("mdns"), "{text}");
    let settings = Settings::resolve(home.path().to_owned(), &Flags::new(), &nothing).unwrap();
    assert_eq!(settings.bootstrap, ["/a/p2p/x", "/b/p2p/y"]);
}

#[test]
fn names_of_nodes_are_normal_and_short() {
    let name = |text: &str| resolve("", &[("name", text)], &[]).map(|settings| settings.name);
    assert_eq!(name("Küche, links"), Ok(Some("Küche, links".into())), "composed");
    assert_eq!(name(&"ä".repeat(32)), Ok(Some("ä".repeat(32))));
    assert!(name(&"ä".repeat(33)).is_err());
    assert_eq!(keys::find("node.name").unwrap().name, "name");
}

#[test]
fn home_is_the_flag_then_the_environment() {
    let environment = |_: &str| Some(OsString::from("/of/env"));
    assert_eq!(home(Some(Path::new("/of/flag")), &environment).unwrap(), Path::new("/of/flag"));
    assert_eq!(home(None, &environment).unwrap(), Path::new("/of/env"));
    assert!(home(Some(Path::new("relative")), &nothing).unwrap().is_absolute());
}

#[test]
fn relays_are_named_or_none() {
    let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let address = format!("/ip4/1.2.3.4/tcp/4483/p2p/{peer}");
    let settings = resolve("", &[("relay", &address)], &[]).unwrap();
    assert_eq!((settings.relay, settings.no_relays), (vec![address], false));
    let settings = resolve("relay = [\"none\"]", &[], &[]).unwrap();
    assert_eq!((settings.relay, settings.no_relays), (Vec::new(), true));
}

#[test]
fn what_a_relay_gives_is_read() {
    let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    for (text, bulk) in
        [("off", (false, None)), ("on", (true, None)), ("2GB", (true, Some(2_000_000_000)))]
    {
        let serving = resolve("", &[("allow-bulk", text)], &[]).unwrap().serving;
        assert_eq!((serving.allow_bulk, serving.circuit_bytes), bulk, "{text}");
    }
    let flags =
        [("allow-peers", peer), ("peer-budget", "1GB"), ("peer-time", "2h"), ("wss", "443")];
    let settings = resolve("", &flags, &[]).unwrap();
    assert_eq!(settings.serving.allow, [peer]);
    assert_eq!(settings.serving.peer_bytes, Some(1_000_000_000));
    assert_eq!(settings.serving.peer_time, Some(Duration::from_hours(2)));
    assert_eq!(settings.wss, Some(443));
}
