use sha2::{Digest as _, Sha256};

use super::{ASSETS, PAGE};

#[test]
fn viewer_is_the_one_whose_hash_is_written_down() {
    let written = include_str!("../../../web/docs/README.md");
    for (name, _, content) in ASSETS.iter().filter(|(name, ..)| name.starts_with("swagger-ui")) {
        let row = written.lines().find(|line| line.contains(&format!("`{name}`")));
        let hash = hex::encode(Sha256::digest(content));
        assert!(row.is_some_and(|row| row.contains(&hash)), "{name} is {hash}");
    }
}

#[test]
fn page_is_made_of_what_is_served_and_of_nothing_else() {
    for part in PAGE.split(['"', '\'']) {
        if let Some(name) = part.strip_prefix("/api/docs/") {
            assert!(ASSETS.iter().any(|(known, ..)| *known == name), "{name}");
        }
    }
    assert!(!PAGE.contains("http:") && !PAGE.contains("https:"));
    assert_eq!(PAGE.matches("/api/docs/").count(), ASSETS.len());
}
