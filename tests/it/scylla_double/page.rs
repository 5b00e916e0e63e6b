//! How a client wants a statement executed, and the page of rows that it gets.

use super::wire::{Reader, Spec, Value, Writer};

/// How a statement is to be executed.
pub(super) struct Parameters {
    pub(super) consistency: u16,
    pub(super) serial: Option<u16>,
    pub(super) values: Vec<Value>,
    pub(super) skip_columns: bool,
    pub(super) page: Option<usize>,
    pub(super) from: usize,
}

impl Parameters {
    /// Reads them from the rest of a request's body.
    pub(super) fn read(body: &mut Reader<'_>) -> Self {
        let (consistency, flags) = (body.short(), body.byte());
        let values = if flags & 0x01 == 0 {
            Vec::new()
        } else {
            (0..body.short())
                .map(|_| body.bytes().map(<[u8]>::to_vec))
                .collect()
        };
        let page = (flags & 0x04 != 0).then(|| usize::try_from(body.int()).unwrap());
        let from = if flags & 0x08 == 0 { None } else { body.bytes() };
        let from = from.map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
        let serial = (flags & 0x10 != 0).then(|| body.short());
        if flags & 0x20 != 0 {
            body.long();
        }
        Self {
            consistency,
            serial,
            values,
            skip_columns: flags & 0x02 != 0,
            page,
            from: usize::try_from(from).unwrap(),
        }
    }
}

/// Writes the page of `rows` that was asked for.
pub(super) fn write_page(body: &mut Writer, specs: &[Spec], rows: &[Vec<Value>], parameters: &Parameters) {
    let end = rows.len().min(
        parameters
            .from
            .saturating_add(parameters.page.unwrap_or(usize::MAX)),
    );
    let more = end < rows.len();
    let flags = i32::from(more) << 1 | i32::from(parameters.skip_columns) << 2;
    body.int(0x0002).int(flags).count(specs.len());
    if more {
        body.bytes(Some(&u32::try_from(end).unwrap().to_be_bytes()));
    }
    if !parameters.skip_columns {
        body.specs(specs);
    }
    let page = &rows[parameters.from.min(end)..end];
    body.count(page.len());
    for value in page.iter().flatten() {
        body.bytes(value.as_deref());
    }
}
