//! What a string holds comes out again, and nothing else is taken for one.

use proptest::prelude::*;

use super::*;

/// A case as campaigns make them: two networks, four faults, six messages.
const TYPICAL: &str = r#"
about = "case 18446744"
[network.home]
nat = "symmetric"
uplink = { delay = "37ms", jitter = "uniform 18ms", loss = "2.5%" }
[network.office]
nat = { preset = "corporate", udp_timeout = "47s" }
uplink = "lte"
[peer.alice]
network = "home"
[peer.bob]
network = "office"
[[script]]
at = "317ms"
peer = "alice"
do = "call"
callee = "bob"
[[script]]
after = "ringing + 1203ms"
peer = "bob"
do = "answer"
[[fault]]
kind = "socket-drop"
on = "alice sends candidate 2"
peer = "alice"
how = "rst"
[[fault]]
kind = "blackhole"
after = "audio + 3071ms"
for = "2919ms"
network = "home"
direction = "up"
[[fault]]
kind = "nat-reboot"
at = "11209ms"
network = "office"
address = "new"
[[fault]]
kind = "app-suspend"
at = "17450ms"
for = "3s"
peer = "bob"
sockets = "killed"
[[message]]
from = "alice"
kind = "candidate"
which = 1
delay = "1742ms"
[[message]]
from = "alice"
kind = "candidate"
which = 3
copies = 2
copy_delay = "93ms"
[[message]]
from = "alice"
kind = "offer"
drop = 1
[[message]]
from = "bob"
kind = "answer"
delay = "883ms"
[[message]]
from = "bob"
kind = "candidate"
which = 2
delay = "0s to 2410ms"
[[message]]
from = "bob"
kind = "end-of-candidates"
drop = 2
[expect]
back_within = "15s"
[talk]
for = "30s"
"#;

fn naive() -> ClientName {
    ClientName("naive".to_owned())
}

fn typical() -> SeedString {
    SeedString::new(TYPICAL, Seed::new(1_234_567), naive()).expect("the case fits")
}

/// A string with these bytes after its checksum, which is right.
fn forged(summed: &[u8]) -> String {
    let mut bytes = checksum(summed).to_vec();
    bytes.extend(summed);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The same with a length that is right too.
fn forged_content(content: &[u8]) -> String {
    let mut summed = Vec::new();
    write_number(&mut summed, content.len() as u64);
    summed.extend(content);
    forged(&summed)
}

#[test]
fn a_typical_case_fits_into_a_message() {
    let word = typical().to_string();
    assert!(word.len() < 600, "{} characters: {word}", word.len());
    let again: SeedString = word.parse().expect("a string");
    assert_eq!(again, typical());
    let scenario = again.scenario().expect("a valid scenario");
    assert_eq!(
        (scenario.faults.len(), scenario.perturbations.len()),
        (4, 6)
    );
    assert_eq!(scenario.path.to_str(), Some(word.as_str()));
}

#[test]
fn strings_that_are_out_there_are_read_for_ever() {
    let word = include_str!("typical-1.txt");
    let read = word.parse::<SeedString>();
    assert_eq!(read, Ok(typical()), "written today: {}", typical());
}

#[test]
fn every_cut_string_is_refused_by_name() {
    let word = typical().to_string();
    for end in PREFIX.len()..word.len() {
        let error = word[..end].parse::<SeedString>().expect_err("it is cut");
        assert!(
            matches!(error, UnreadableError::Truncated { found, expected } if found < expected),
            "cut to {end} characters: {error}"
        );
    }
}

#[test]
fn every_changed_character_is_found() {
    let word = typical().to_string();
    for position in PREFIX.len()..word.len() {
        for other in ["A", "_", "z"] {
            let mut changed = word.clone();
            changed.replace_range(position..=position, other);
            if changed == word {
                continue;
            }
            let read = changed.parse::<SeedString>();
            // The last character may have bits that hold nothing.
            let is_the_same = read.as_ref().is_ok_and(|read| *read == typical());
            assert!(
                read.is_err() || (is_the_same && position + 1 == word.len()),
                "{position}: {read:?}"
            );
        }
    }
}

#[test]
fn what_is_no_string_is_refused_with_the_reason() {
    let read = |text: &str| text.parse::<SeedString>();
    assert_eq!(read("scenarios/a.toml"), Err(UnreadableError::NoPrefix));
    assert_eq!(read(""), Err(UnreadableError::NoPrefix));
    let found = "rt2".to_owned();
    assert_eq!(
        read("rt2-AAAA"),
        Err(UnreadableError::OtherVersion { found })
    );
    let bad = UnreadableError::BadCharacter {
        character: 'ü',
        position: 7,
    };
    assert_eq!(read("rt1-AAü"), Err(bad));
    let long = format!("{PREFIX}{}", "A".repeat(LONGEST_STRING));
    assert!(matches!(read(&long), Err(UnreadableError::TooLong { .. })));
    assert!(SeedString::is_meant("rt12-x") && SeedString::is_meant("rt1-"));
    assert!(!SeedString::is_meant("rt-x") && !SeedString::is_meant("rtx1-x.toml"));
}

#[test]
fn what_only_a_forger_writes_is_refused() {
    let refused = |word: &str| {
        let error = word.parse::<SeedString>().expect_err("it is forged");
        assert!(matches!(error, UnreadableError::Malformed(_)), "{error}");
    };
    refused(&forged(&[7, 1, 2]));
    refused(&forged_content(&[0xff; 10]));
    refused(&forged_content(&[1, 40, b'x']));
    refused(&forged_content(&[1, 1, 0xff]));
    refused(&forged_content(&[1, 0, 0xff, 0xff]));
    let with = |deflated: &[u8]| forged_content(&[&[1, 0], deflated].concat());
    refused(&with(&deflate(&[0xff, 0xfe])));
    refused(&with(&[&deflate(b"a = 1")[..], b"more"].concat()));
    let whole = deflate(TYPICAL.as_bytes());
    refused(&with(&whole[..whole.len() / 2]));
}

#[test]
fn a_string_that_would_grow_without_bound_is_refused() {
    let bomb = forged_content(&[&[1, 0], &deflate(&vec![b'a'; 30_000_000])[..]].concat());
    assert!(bomb.len() < LONGEST_STRING);
    assert_eq!(
        bomb.parse::<SeedString>(),
        Err(UnreadableError::Malformed(
            "the scenario is longer than any that fits into a string"
        ))
    );
}

#[test]
fn what_a_string_cannot_hold_is_said() {
    let new = |text: &str| SeedString::new(text, Seed::new(1), naive());
    let other = new("[peer.bob]\nplays = \"voice.opus\"").expect_err("the file is not in it");
    assert_eq!(
        other.to_string(),
        "peer.bob.plays = \"voice.opus\": a string holds no files, so that only these can be played: \
         tone-low.opus, tone-high.opus"
    );
    assert!(new("[peer.bob]\nplays = \"tone-low.opus\"").is_ok());
    assert!(matches!(new("about"), Err(UnwritableError::NotToml(_))));
    let long = format!("about = \"{}\"", "a".repeat(LONGEST_SCENARIO));
    assert!(matches!(new(&long), Err(UnwritableError::TooLong { .. })));
    let name = ClientName("x".repeat(256));
    let refused = SeedString::new("", Seed::new(1), name);
    assert!(matches!(refused, Err(UnwritableError::TooLong { .. })));
}

proptest! {
    #[test]
    fn whatever_is_written_reads_back(
        about in any::<String>(),
        names in prop::collection::btree_map("[a-z][a-z0-9-]{0,8}", any::<i64>(), 0..20),
        seed in any::<u64>(),
        client in "[a-z-]{0,64}",
    ) {
        let mut table = Table::new();
        table.insert("about".to_owned(), Value::String(about));
        let names = names.into_iter().map(|(name, number)| (name, Value::Integer(number)));
        table.insert("network".to_owned(), Value::Table(names.collect()));
        let client = if client.is_empty() { ClientName::production() } else { ClientName(client) };
        let text = toml::to_string(&table).expect("a table is TOML");
        let case = SeedString::new(&text, Seed::new(seed), client).expect("it fits");
        let again: SeedString = case.to_string().parse().expect("a string");
        prop_assert_eq!(&again, &case);
        let read: Table = again.text().parse().expect("TOML");
        prop_assert_eq!(read, table);
    }

    #[test]
    fn no_text_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        // Any result will do but a panic.
        let _ = forged_content(&bytes).parse::<SeedString>();
        let _ = forged(&bytes).parse::<SeedString>();
    }
}
