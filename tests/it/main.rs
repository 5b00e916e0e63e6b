//! One binary: one link, one harness.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[test]
fn placeholder() {
    let one: Option<u8> = "1".parse().ok();
    assert_eq!(one.unwrap(), 1);
}
