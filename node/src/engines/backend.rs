//! Where engines come from: the only place of the node that names `hive-inference` to run a model.

use std::sync::Arc;

use hive_inference as inference;
use hive_worker::Backend;

/// Candle, behind the worker's seam.
pub(crate) fn backend() -> Backend {
    Backend { load: Arc::new(inference::load), quantize: Arc::new(inference::quantize) }
}
