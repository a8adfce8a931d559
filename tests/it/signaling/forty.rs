//! Whether each of the forty requirements has a test.

const REQUIREMENTS: u32 = 40;

const MODULES: [&str; 13] = [
    include_str!("acknowledgements.rs"),
    include_str!("closing.rs"),
    include_str!("handshake.rs"),
    include_str!("heartbeat.rs"),
    include_str!("namespaces.rs"),
    include_str!("opening.rs"),
    include_str!("parsing.rs"),
    include_str!("polling.rs"),
    include_str!("reconnection.rs"),
    include_str!("recovery.rs"),
    include_str!("sending.rs"),
    include_str!("upgrade.rs"),
    include_str!("waits.rs"),
];

/// The functions of a module that are tests.
fn tests(module: &str) -> impl Iterator<Item = &str> {
    let lines = module.lines().map(str::trim);
    let pairs = lines.clone().zip(lines.skip(1));
    pairs.filter_map(|(attribute, line)| {
        let is_test = attribute == "#[test]" || attribute.starts_with("#[tokio::test");
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").filter(|_| is_test)
    })
}

#[test]
fn every_requirement_has_a_test() {
    let has_test = |number: &u32| {
        let prefix = format!("r{number:02}_");
        let mut all = MODULES.into_iter().flat_map(tests);
        all.any(|name| name.starts_with(&prefix))
    };
    let missing: Vec<u32> = (1..=REQUIREMENTS)
        .filter(|number| !has_test(number))
        .collect();
    assert!(missing.is_empty(), "no test begins with one of {missing:?}");
}
