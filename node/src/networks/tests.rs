use std::path::Path;

use ed25519_dalek::SigningKey;
use hive_protocol::membership::Serial;

use super::*;

fn node(n: u8) -> NodeKey {
    NodeKey(SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes())
}

fn config(home: &Path, network: &str) -> Config {
    Config { home: home.to_owned(), network: network.to_owned(), ..Config::default() }
}

fn make(home: &Path, n: u8) -> Known {
    Known::create(home, "home", vec!["/x".to_owned()], node(n), now()).unwrap()
}

#[test]
fn a_public_name_stays_one_and_a_private_one_becomes_its_id() {
    let home = tempfile::tempdir().unwrap();
    let known = make(home.path(), 1);
    let (config, networks) = open(self::config(home.path(), "main"), node(1)).unwrap();
    assert_eq!((config.network.as_str(), networks.own()), ("main", None));
    let (config, networks) = open(self::config(home.path(), "home"), node(1)).unwrap();
    assert_eq!(config.network, known.id.to_string());
    assert_eq!(config.bootstrap, ["/x"]);
    assert_eq!(networks.membership().unwrap().network(), known.id);
    let own = networks.own().unwrap();
    assert_eq!((own.role, own.problem), (Some(hive_api::MemberRole::Admin), None));
}

/// It would otherwise show itself in a public network of the same name.
#[test]
fn a_node_does_not_start_in_a_private_network_that_its_home_does_not_know() {
    let home = tempfile::tempdir().unwrap();
    let unknown = NetworkId([3; 32]).to_string();
    let error = open(config(home.path(), &unknown), node(1)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
    // The disk can be used all the same.
    let offline = Config { online: false, ..config(home.path(), &unknown) };
    assert!(open(offline, node(1)).unwrap().1.own().is_none());
}

#[test]
fn a_certificate_of_another_node_is_refused_with_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    let known = make(home.path(), 1);
    // Without the key, or the home would make itself another certificate.
    std::fs::remove_file(
        home.path().join("networks").join(known.id.to_string()).join("secret.key"),
    )
    .unwrap();
    let error = open(config(home.path(), "home"), node(2)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.hint.unwrap().contains("new invite"));
}

#[test]
fn an_admin_whose_certificate_is_of_no_use_makes_itself_another() {
    let home = tempfile::tempdir().unwrap();
    let known = make(home.path(), 1);
    let first = known.certificate().unwrap().unwrap();
    let (_, networks) = open(config(home.path(), "home"), node(1)).unwrap();
    assert_eq!(networks.own().unwrap().problem, None);
    assert_eq!(known.certificate().unwrap().unwrap(), first, "it is good for years");
    // The home was restored from a backup of the network on another machine.
    let (_, networks) = open(config(home.path(), "home"), node(2)).unwrap();
    assert_eq!(networks.own().unwrap().problem, None);
    assert_ne!(known.certificate().unwrap().unwrap(), first);
    // Its own was revoked by another admin.
    let secret = known.secret().unwrap().unwrap();
    let serial: [u8; 16] =
        hex::decode(networks.own().unwrap().serial.unwrap()).unwrap().try_into().unwrap();
    let list = RevocationList::new(known.key).next([Serial(serial)], now(), now() + 1).unwrap();
    known.keep_revocations(&list.sign(&secret)).unwrap();
    let (_, networks) = open(config(home.path(), "home"), node(2)).unwrap();
    assert_eq!(networks.own().unwrap().problem, None);
}

#[test]
fn a_member_that_was_put_out_is_told_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let known = make(home.path(), 1);
    let secret = known.secret().unwrap().unwrap();
    let dir = home.path().join("networks").join(known.id.to_string());
    let (_, networks) = open(config(home.path(), "home"), node(1)).unwrap();
    let serial: [u8; 16] =
        hex::decode(networks.own().unwrap().serial.unwrap()).unwrap().try_into().unwrap();
    std::fs::remove_file(dir.join("secret.key")).unwrap();
    let list = RevocationList::new(known.key).next([Serial(serial)], now(), now() + 1).unwrap();
    known.keep_revocations(&list.sign(&secret)).unwrap();
    let (_, networks) = open(config(home.path(), "home"), node(1)).unwrap();
    let own = networks.own().unwrap();
    assert!(own.problem.as_ref().unwrap().contains("revoked"), "{own:?}");
    let concern = own.concern(now()).unwrap();
    assert!(concern.urgent && concern.remedy.contains("new invite"), "{concern:?}");
}

#[test]
fn a_home_without_certificate_or_invite_is_told_to_get_one() {
    let home = tempfile::tempdir().unwrap();
    let known = make(home.path(), 1);
    let dir = home.path().join("networks").join(known.id.to_string());
    for file in ["secret.key", "certificate"] {
        std::fs::remove_file(dir.join(file)).unwrap();
    }
    let error = open(config(home.path(), "home"), node(1)).unwrap_err();
    assert!(error.hint.unwrap().contains("hive join CODE"));
}

#[test]
fn nothing_of_a_network_is_shown_by_debug() {
    let home = tempfile::tempdir().unwrap();
    let known = make(home.path(), 1);
    let (_, networks) = open(config(home.path(), "home"), node(1)).unwrap();
    let shown = format!("{networks:?} {known:?}");
    let secret = known.secret().unwrap().unwrap().to_bytes();
    for bytes in [known.key.to_bytes(), secret] {
        let listed = format!("{:?}", &bytes[..4]);
        assert!(!shown.contains(listed.trim_matches(['[', ']'])), "{shown}");
        assert!(!shown.contains(&hex::encode(bytes)), "{shown}");
    }
}
