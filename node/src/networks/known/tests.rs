use super::*;

const NOW: u64 = 1_000_000;

fn node() -> NodeKey {
    NodeKey(SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes())
}

fn create(home: &Path, name: &str) -> Result<Known> {
    Known::create(home, name, Vec::new(), node(), NOW)
}

fn code(name: &str) -> InviteCode {
    let network = NetworkKey::of(&SigningKey::from_bytes(&[8; 32]));
    let (secret, addresses) =
        (InviteSecret([3; 16]), vec!["/ip4/192.0.2.1/tcp/1/p2p/x".to_owned()]);
    InviteCode { network, secret, expires: NOW, addresses, name: name.to_owned() }
}

#[test]
fn a_network_that_was_made_is_found_and_its_files_are_for_nobody_else() {
    let home = tempfile::tempdir().unwrap();
    let made = create(home.path(), "home").unwrap();
    let found = named(home.path(), "home").unwrap().unwrap();
    assert_eq!((found.id, found.key), (made.id, made.key));
    assert_eq!(NetworkKey::of(&found.secret().unwrap().unwrap()), made.key);
    let certificate = found.certificate().unwrap().unwrap();
    let member =
        Certificate::judge(&certificate, &made.key, node(), &RevocationList::new(made.key), NOW);
    assert_eq!(member.unwrap().role, Role::Admin);
    #[cfg(unix)]
    for entry in fs::read_dir(home.path().join(DIR).join(made.id.to_string())).unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{entry:?}");
    }
    found.forget().unwrap();
    assert!(list(home.path()).unwrap().is_empty());
    assert_eq!(fs::read_dir(home.path().join(DIR)).unwrap().count(), 0);
}

#[test]
fn a_code_is_kept_until_it_is_redeemed_or_refused() {
    let home = tempfile::tempdir().unwrap();
    let known = Known::accept(home.path(), &code("evil/../../\u{1b}[2J")).unwrap();
    assert_eq!(known.name, "evil/../../[2J", "a name is shown, and is no path");
    let [found] = list(home.path()).unwrap().try_into().unwrap();
    assert_eq!((found.id, &found.addresses), (code("").network.id(), &code("").addresses));
    assert_eq!(found.invitation().unwrap(), Some(InviteSecret([3; 16])));
    found.keep_certificate(b"certificate").unwrap();
    assert_eq!(found.invitation().unwrap(), None);
    // Another code of the same network: what is here already stays when that one is refused.
    let again = Known::accept(home.path(), &code("x")).unwrap();
    again.forget_invitation().unwrap();
    assert_eq!(again.certificate().unwrap().as_deref(), Some(&b"certificate"[..]));
    assert_eq!(again.invitation().unwrap(), None);
}

#[test]
fn a_code_that_was_refused_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let known = Known::accept(home.path(), &code("home")).unwrap();
    known.forget_invitation().unwrap();
    assert_eq!(fs::read_dir(home.path().join(DIR)).unwrap().count(), 0);
}

#[test]
fn a_name_that_could_mean_something_else_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let id = create(home.path(), "home").unwrap().id.to_string();
    for name in ["", "main", "Home", "a b", "../x", "ä", &id, &"a".repeat(65), "home"] {
        let error = create(home.path(), name).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage, "{name}");
    }
    assert_eq!(list(home.path()).unwrap().len(), 1);
}

/// The setting's default is `main`, so nobody asked for the network of that name.
#[test]
fn a_code_cannot_make_its_network_the_default() {
    let home = tempfile::tempdir().unwrap();
    let known = Known::accept(home.path(), &code("main")).unwrap();
    assert!(named(home.path(), "main").unwrap().is_none());
    assert!(named(home.path(), &known.id.to_string()).unwrap().is_some());
}

#[test]
fn a_network_is_meant_by_name_by_id_or_by_nothing() {
    let home = tempfile::tempdir().unwrap();
    assert!(meant(home.path(), None, None).unwrap_err().to_string().contains("no private network"));
    let a = create(home.path(), "a").unwrap().id;
    assert_eq!(meant(home.path(), None, None).unwrap().id, a);
    let b = create(home.path(), "b").unwrap().id;
    assert!(meant(home.path(), None, None).is_err(), "there are two");
    assert_eq!(meant(home.path(), None, Some(b)).unwrap().id, b);
    assert_eq!(meant(home.path(), Some("a"), Some(b)).unwrap().id, a);
    assert_eq!(meant(home.path(), Some(&b.to_string()[..ID_PREFIX]), None).unwrap().id, b);
    assert!(meant(home.path(), Some(&b.to_string()[..ID_PREFIX - 1]), None).is_err());
    // A stranger's network has our network's name: neither is meant by it.
    let other = Known::accept(home.path(), &code("a")).unwrap();
    let error = meant(home.path(), Some("a"), None).unwrap_err();
    assert!(error.hint.unwrap().contains(&other.id.to_string()), "both ids are told");
    assert!(named(home.path(), "a").is_err());
}

#[test]
fn a_damaged_directory_is_named_and_a_strange_one_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let known = create(home.path(), "home").unwrap();
    fs::create_dir(home.path().join(DIR).join("notes")).unwrap();
    // Not a network yet, or no more.
    fs::create_dir(home.path().join(DIR).join(NetworkId([1; 32]).to_string())).unwrap();
    assert_eq!(list(home.path()).unwrap().len(), 1);
    let record = known.dir.join(RECORD);
    let text = fs::read_to_string(&record).unwrap();
    let other = hex::encode(NetworkKey::of(&SigningKey::from_bytes(&[1; 32])).to_bytes());
    let key = hex::encode(known.key.to_bytes());
    for wrong in [text.replace(&key, &other), text.replace("\"v\": 1", "\"v\": 2"), "{".to_owned()]
    {
        fs::write(&record, wrong).unwrap();
        let error = list(home.path()).unwrap_err();
        assert!(error.to_string().contains(&record.display().to_string()), "{error}");
    }
}

#[test]
fn the_key_of_another_network_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let known = create(home.path(), "home").unwrap();
    disk::write(&known.dir.join(SECRET), &[1; 32]).unwrap();
    assert!(known.secret().unwrap_err().to_string().contains("another network"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(known.dir.join(SECRET), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(known.secret().unwrap_err().to_string().contains("644"));
    }
}

#[test]
fn what_a_crash_left_of_a_network_that_was_left_goes_with_the_next_look() {
    let home = tempfile::tempdir().unwrap();
    let known = create(home.path(), "home").unwrap();
    let leaving = home.path().join(DIR).join(format!("{LEAVING}{}", known.id));
    fs::rename(&known.dir, &leaving).unwrap();
    assert!(list(home.path()).unwrap().is_empty());
    assert!(!leaving.exists());
}

#[test]
fn a_home_knows_so_many_networks_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    for n in 0..NETWORKS {
        create(home.path(), &format!("n{n}")).unwrap();
    }
    assert_eq!(create(home.path(), "more").unwrap_err().kind, ErrorKind::Refused);
    assert!(Known::accept(home.path(), &code("more")).is_err());
}
