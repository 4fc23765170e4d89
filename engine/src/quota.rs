//! Quotas: limits that clients set as znodes (`client-protocol` 4.7).

/// Limits and usage of one governed subtree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quota {
    /// Znodes in the subtree, its root included.
    pub count: i64,
    /// Bytes of data in the subtree.
    pub bytes: i64,
}
