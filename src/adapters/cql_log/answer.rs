//! What a conditional write was answered.
//!
//! Cassandra answers `[applied]` alone where it applied, and adds the columns of the condition
//! where it did not; `ScyllaDB` adds them always. So nothing is taken from its place: columns are
//! found by name, in whatever order and company they come.

use scylla::{
    response::query_result::{QueryResult, QueryRowsResult},
    value::{CqlValue, Row},
};

use crate::domain::entry::{Hash, Head};

/// Why an answer cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("the answer to a conditional write is not one")]
pub(super) struct Unintelligible;

/// What became of a conditional append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was written.
    Applied,
    /// It was not, for this is the bucket's head; `None`: the bucket has none.
    Refused(Option<Head>),
}

/// Reads the answer to a conditional append.
pub(super) fn outcome(result: QueryResult) -> Result<Outcome, Unintelligible> {
    let rows = result.into_rows_result().map_err(|_| Unintelligible)?;
    let row = rows.first_row::<Row>().map_err(|_| Unintelligible)?;
    match applied(&rows, &row) {
        Some(true) => Ok(Outcome::Applied),
        Some(false) => {
            let get = |name| column(&rows, &row, name);
            match (get("head_seq"), get("head_hash")) {
                (None, None) => Ok(Outcome::Refused(None)),
                (Some(CqlValue::BigInt(seq)), Some(CqlValue::Blob(hash))) => head(*seq, hash)
                    .map(|head| Outcome::Refused(Some(head)))
                    .ok_or(Unintelligible),
                _ => Err(Unintelligible),
            }
        }
        None => Err(Unintelligible),
    }
}

/// Whether the condition of a write held; `None`: the answer cannot be understood.
pub(super) fn is_applied(result: QueryResult) -> Option<bool> {
    let rows = result.into_rows_result().ok()?;
    let row = rows.first_row::<Row>().ok()?;
    applied(&rows, &row)
}

/// A head as it is stored.
pub(super) fn head(seq: i64, hash: &[u8]) -> Option<Head> {
    Some(Head {
        seq: u64::try_from(seq).ok()?,
        hash: Hash(hash.try_into().ok()?),
    })
}

/// Whether the condition held.
pub(super) fn applied(rows: &QueryRowsResult, row: &Row) -> Option<bool> {
    match column(rows, row, "[applied]")? {
        CqlValue::Boolean(applied) => Some(*applied),
        _ => None,
    }
}

/// The value of the column `name`, if there is such a column and it is set.
pub(super) fn column<'row>(rows: &QueryRowsResult, row: &'row Row, name: &str) -> Option<&'row CqlValue> {
    let (index, _) = rows.column_specs().get_by_name(name)?;
    row.columns.get(index)?.as_ref()
}
