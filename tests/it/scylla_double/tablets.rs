//! On which core a tablet lies, and how a client learns it.

use super::{server::Shared, wire::Writer};

/// How many tablets every table has.
const TABLETS: i128 = 8;

/// What a client has to learn that asked core `asked` about `token`; nothing if it was the right one.
pub(super) fn lesson(shared: &Shared, token: i64, asked: u16) -> Option<(&'static str, Vec<u8>)> {
    let step = (1_i128 << 64) / TABLETS;
    let index = (i128::from(token) - i128::from(i64::MIN) - 1).max(0) / step;
    let core = u16::try_from(index).unwrap() % shared.shape.shards;
    if core == asked {
        return None;
    }
    let first = i128::from(i64::MIN) + index * step;
    let last = first + step - i128::from(index == TABLETS - 1);
    let mut replicas = Writer::default();
    replicas.count(shared.nodes.len());
    for node in &shared.nodes {
        let mut one = Writer::default();
        one.bytes(Some(node.id.as_bytes()))
            .bytes(Some(&i32::from(core).to_be_bytes()));
        replicas.bytes(Some(&one.0));
    }
    let mut payload = Writer::default();
    for bound in [first, last] {
        payload.bytes(Some(&i64::try_from(bound).unwrap().to_be_bytes()));
    }
    payload.bytes(Some(&replicas.0));
    Some(("tablets-routing-v1", payload.0))
}
