//! Kubernetes quantities, exactly: `500m`, `1.5Gi`, `2e3`.

/// A quantity in billionths (`n`), the smallest unit that Kubernetes keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(pub i128);
