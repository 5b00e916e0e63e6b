//! As which server the double shows itself.

use super::failure::RATE_LIMIT_CODE;

/// Bits of a token that do not say on which core it lies, as ScyllaDB tells by default.
pub(super) const IGNORED_BITS: u8 = 12;

/// The bit in a prepared statement's flags that marks it as conditional.
pub(super) const LWT_MARK: u32 = 1 << 31;

/// Whether there is a port where the client's own port chooses the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShardPort {
    /// None is told.
    Absent,
    /// It is told and answers.
    Open,
    /// It is told and nobody is there, as behind a translation of addresses.
    Closed,
}

/// A server's kind, version and manners.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// ScyllaDB; else Cassandra, for what must not change there.
    pub(super) scylla: bool,
    /// As in `2025.4.1`.
    pub(super) version: (u32, u32, u32),
    pub(super) nodes: u16,
    pub(super) shards: u16,
    pub(super) shard_port: ShardPort,
    /// Whether prepared conditional statements are marked as such.
    pub(super) marks_conditional: bool,
    /// The only name and password that are let in; none: everybody is.
    pub(super) credentials: Option<(&'static str, &'static str)>,
}

impl Shape {
    /// One node of a ScyllaDB that has everything.
    pub(super) fn scylla() -> Self {
        Self {
            scylla: true,
            version: (2025, 4, 1),
            nodes: 1,
            shards: 4,
            shard_port: ShardPort::Open,
            marks_conditional: true,
            credentials: None,
        }
    }

    /// One node of a Cassandra.
    pub(super) fn cassandra() -> Self {
        Self {
            scylla: false,
            version: (5, 0, 9),
            shards: 1,
            shard_port: ShardPort::Absent,
            marks_conditional: false,
            ..Self::scylla()
        }
    }

    /// Whether keyspaces have tablets unless told otherwise.
    pub(super) fn has_tablets(&self) -> bool {
        self.scylla && self.version >= (6, 0, 0)
    }

    /// Whether conditional statements work on tablets.
    pub(super) fn tablets_take_conditions(&self) -> bool {
        self.version >= (2025, 4, 0)
    }

    pub(super) fn version_text(&self) -> String {
        let (major, minor, patch) = self.version;
        format!("{major}.{minor}.{patch}")
    }

    /// What it says of itself when asked for its options on a connection to core `shard`.
    pub(super) fn options(&self, shard: u16, shard_port: Option<u16>) -> Vec<(&'static str, String)> {
        let mut options = vec![("CQL_VERSION", "3.3.1".to_owned())];
        if !self.scylla {
            return options;
        }
        options.extend([
            ("SCYLLA_SHARD", shard.to_string()),
            ("SCYLLA_NR_SHARDS", self.shards.to_string()),
            ("SCYLLA_SHARDING_IGNORE_MSB", IGNORED_BITS.to_string()),
            ("SCYLLA_SHARDING_ALGORITHM", "biased-token-round-robin".to_owned()),
            (
                "SCYLLA_PARTITIONER",
                "org.apache.cassandra.dht.Murmur3Partitioner".to_owned(),
            ),
            ("SCYLLA_RATE_LIMIT_ERROR", format!("ERROR_CODE={RATE_LIMIT_CODE}")),
        ]);
        if self.has_tablets() {
            options.push(("TABLETS_ROUTING_V1", String::new()));
        }
        if self.marks_conditional {
            let mask = format!("LWT_OPTIMIZATION_META_BIT_MASK={LWT_MARK}");
            options.push(("SCYLLA_LWT_ADD_METADATA_MARK", mask));
        }
        if let Some(port) = shard_port {
            options.push(("SCYLLA_SHARD_AWARE_PORT", port.to_string()));
        }
        options
    }
}
