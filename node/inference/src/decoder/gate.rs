//! The function between the halves of a feed-forward layer, and their product, in one pass.
//!
//! candle calls the C library's `tanhf` and `expf` for each element; this is arithmetic alone, so
//! that the compiler makes vector code of it. It is right to some 3e-7 of the result.

use candle_core::{Storage, Tensor};

use crate::arithmetic::exp;
use crate::config::Activation;

/// Returns `activation(gate) * up`.
pub(super) fn gated(
    activation: Activation,
    gate: &Tensor,
    up: &Tensor,
) -> candle_core::Result<Tensor> {
    let plain = gate.is_contiguous() && up.is_contiguous() && gate.dims() == up.dims();
    let (gate_storage, gate_layout) = gate.storage_and_layout();
    let (up_storage, up_layout) = up.storage_and_layout();
    if let (Storage::Cpu(gates), Storage::Cpu(ups), true) = (&*gate_storage, &*up_storage, plain) {
        let n = gate.elem_count();
        let gates = &gates.as_slice::<f32>()?[gate_layout.start_offset()..][..n];
        let ups = &ups.as_slice::<f32>()?[up_layout.start_offset()..][..n];
        let pairs = gates.iter().zip(ups);
        let products: Vec<f32> = match activation {
            Activation::Silu => pairs.map(|(&x, up)| x * sigmoid(x) * up).collect(),
            Activation::Gelu => pairs.map(|(&x, up)| gelu(x) * up).collect(),
        };
        return Tensor::from_vec(products, gate.shape(), gate.device());
    }
    let gate = match activation {
        Activation::Silu => gate.silu()?,
        Activation::Gelu => gate.gelu()?,
    };
    gate * up
}

/// The approximation by tanh: `0.5 (1 + tanh z)` is the sigmoid of `2 z`.
fn gelu(x: f32) -> f32 {
    const TWO_SQRT_2_OVER_PI: f32 = 1.595_769;
    x * sigmoid(TWO_SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x))
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_gate_is_what_candle_computes() -> candle_core::Result<()> {
        let values: Vec<f32> = (-4_000..4_000).map(|x| x as f32 / 100.0).collect();
        let x = Tensor::new(&values[..], &Device::Cpu)?;
        let up = x.affine(0.5, 1.0)?;
        for (activation, expected) in [(Activation::Silu, x.silu()?), (Activation::Gelu, x.gelu()?)]
        {
            let expected = (expected * &up)?.to_vec1::<f32>()?;
            let actual = gated(activation, &x, &up)?.to_vec1::<f32>()?;
            for (actual, expected) in actual.iter().zip(&expected) {
                assert!((actual - expected).abs() <= 2e-6 * (1.0 + expected.abs()));
            }
        }
        Ok(())
    }

    #[test]
    fn a_gate_keeps_what_is_not_a_number_and_closes_far_below_zero() {
        assert!(gelu(f32::NAN).is_nan());
        assert!(sigmoid(f32::NAN).is_nan());
        assert!(gelu(-1_000.0).abs() < 1e-30);
    }
}
