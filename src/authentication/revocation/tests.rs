use super::*;
use crate::authentication::revocation::entry::About;

fn entry(about: About, before: i64, by: Entered) -> Entry {
    Entry {
        about,
        before: Some(before),
        until: before + 1000,
        note: None,
        by,
        at: 0,
    }
}

fn alice() -> About {
    About::subject("i".into(), "alice")
}

fn refuses(revocations: &Revocations, issued: i64) -> bool {
    let flags = revocations.0.index.flags();
    flags.has(Flags::of(Kind::Subject)) && revocations.0.index.refuses(alice().key(), Some(issued))
}

#[test]
fn nothing_is_revoked_where_nothing_was_said() {
    let revocations = Revocations::new(1);
    assert!(revocations.0.index.flags().is_empty());
    let added = revocations.add(entry(alice(), 10, Entered::Admin)).unwrap();
    assert!(refuses(&revocations, 9) && !refuses(&revocations, 10));
    assert!(revocations.0.index.refuses(alice().key(), None));
    revocations.remove(added.id()).unwrap();
    assert!(!refuses(&revocations, 9) && revocations.0.index.flags().is_empty());
}

#[test]
fn a_full_set_refuses_what_is_new_and_drops_nothing() {
    let revocations = Revocations::new(1);
    revocations.add(entry(alice(), 10, Entered::Admin)).unwrap();
    let bob = About::subject("i".into(), "bob");
    assert_eq!(
        revocations.add(entry(bob.clone(), 10, Entered::Admin)),
        Err(Full::All)
    );
    // what is known already may say more
    revocations
        .add(entry(alice(), 20, Entered::Logout))
        .unwrap();
    assert!(refuses(&revocations, 19) && revocations.is_full());
    let full = revocations.replace_file(&"f".into(), vec![entry(bob.clone(), 1, Entered::File)]);
    assert_eq!(full.unwrap_err(), Full::All);
    // another replica had room
    revocations.add_accepted(entry(bob, 10, Entered::Admin));
    assert_eq!(revocations.list(0, 10).0, 2);
}

#[test]
fn what_a_file_no_longer_says_ends_and_what_was_entered_stays() {
    let revocations = Revocations::new(10);
    let file: Arc<str> = "f".into();
    let changes = revocations
        .replace_file(&file, vec![entry(alice(), 50, Entered::File)])
        .unwrap();
    assert_eq!((changes.added.len(), changes.removed.len()), (1, 0));
    let again = revocations
        .replace_file(&file, vec![entry(alice(), 50, Entered::File)])
        .unwrap();
    assert_eq!((again.added.len(), again.removed.len()), (0, 0));
    revocations.add(entry(alice(), 20, Entered::Admin)).unwrap();
    assert!(refuses(&revocations, 49));
    let less = revocations
        .replace_file(&file, vec![entry(alice(), 30, Entered::File)])
        .unwrap();
    assert_eq!(less.added.len(), 1);
    assert!(refuses(&revocations, 29) && !refuses(&revocations, 30));
    let gone = revocations.replace_file(&file, Vec::new()).unwrap();
    assert_eq!(gone.removed.len(), 1);
    assert!(refuses(&revocations, 19) && !refuses(&revocations, 20));
}

#[test]
fn what_two_files_say_stays_until_neither_does() {
    let revocations = Revocations::new(10);
    let (one, other): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    for file in [&one, &other] {
        revocations
            .replace_file(file, vec![entry(alice(), 50, Entered::File)])
            .unwrap();
    }
    assert!(
        revocations
            .replace_file(&one, Vec::new())
            .unwrap()
            .removed
            .is_empty()
    );
    assert!(refuses(&revocations, 49));
    revocations.replace_file(&other, Vec::new()).unwrap();
    assert!(!refuses(&revocations, 49));
}

#[test]
fn what_is_over_is_forgotten() {
    let revocations = Revocations::new(10);
    revocations.add(entry(alice(), 0, Entered::Admin)).unwrap();
    assert!(revocations.sweep(1120).is_empty());
    assert_eq!(revocations.sweep(1121).len(), 1);
    assert!(revocations.0.index.flags().is_empty());
}

#[test]
fn many_entries_are_found_each() {
    let revocations = Revocations::new(10_000);
    let about = |number: usize| About::subject("i".into(), &number.to_string());
    for number in 0..5000 {
        revocations
            .add(entry(about(number), 10, Entered::Admin))
            .unwrap();
    }
    for number in 0..5000 {
        assert!(revocations.0.index.refuses(about(number).key(), Some(1)));
    }
    assert!(!revocations.0.index.refuses(about(5000).key(), Some(1)));
    let listed = revocations.after(None, 3000);
    let rest = revocations.after(listed.last().map(|entry| entry.id()), 3000);
    assert_eq!((listed.len(), rest.len()), (3000, 2000));
}

#[test]
fn a_token_is_found_whatever_its_signature_is_written_as() {
    let revocations = Revocations::new(10);
    let revoke = |text: &str| {
        let mut entry = entry(About::token(&sha256(text.as_bytes())), 0, Entered::Admin);
        entry.before = None;
        revocations.add(entry).unwrap();
    };
    revoke("e30.e30");
    assert!(revocations.refuses_token("e30.e30.one") && revocations.refuses_token("e30.e30.other"));
    assert!(!revocations.refuses_token("e30.e31.one"));
    // whole, as an opaque one
    revoke("v4.public.one");
    revoke("v4.public");
    assert!(revocations.refuses_token("v4.public.one"));
    assert!(!revocations.refuses_token("v4.public.other"));
}

#[test]
fn an_issuer_that_logs_out_many_leaves_room_for_others() {
    let revocations = Revocations::new(8);
    let session = |issuer: &str, sid: &str, by| entry(About::session(issuer.into(), sid), 10, by);
    for sid in ["1", "2"] {
        revocations.add(session("i", sid, Entered::Logout)).unwrap();
    }
    let full = revocations.add(session("i", "3", Entered::Logout));
    assert_eq!(full, Err(Full::OfIssuer));
    // again, another's, and by somebody else
    revocations.add(session("i", "1", Entered::Logout)).unwrap();
    revocations.add(session("j", "3", Entered::Logout)).unwrap();
    revocations.add(session("i", "3", Entered::Admin)).unwrap();
    // there is room again where one is over
    let over = session("i", "2", Entered::Logout).id();
    revocations.remove(over).unwrap();
    revocations.add(session("i", "4", Entered::Logout)).unwrap();
}
