//! A room's record as one file that anyone can check without us.
//!
//! `docs/log-format.md` defines every byte of it. The file says nothing that the
//! chain does not prove: two exports of the same record are the same bytes.
//!
//! - `line`: the lines of the file.
//! - `write`: from the log into a file, also beside a running server.
//! - `personal`: from the log to somebody who takes part, or did.
//! - `verify`: from the file alone to "valid", or to the first bad seq.

mod line;
mod personal;
mod verify;
mod write;

pub use self::{
    line::{MAX_LINE, VERSION},
    personal::{Exports, PersonalExport},
    verify::{Verified, VerifyError, VerifyFault, verify},
    write::{ExportError, Exported, export, export_file},
};
