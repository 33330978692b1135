//! Normalisation by the root of the mean square.

use candle_core::{Storage, Tensor};

use crate::arithmetic::dot;

/// Rows that are normalised here rather than by candle, which wakes its threads for two.
const FEW: usize = 64;

/// Returns rows divided by the root of their mean square, times weights.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32) -> candle_core::Result<Tensor> {
    let n = x.dims().last().copied().unwrap_or_default();
    let few = x.is_contiguous() && x.elem_count() <= FEW * n && weight.dims() == [n] && 0 < n;
    let (x_storage, x_layout) = x.storage_and_layout();
    let (weight_storage, weight_layout) = weight.storage_and_layout();
    let (Storage::Cpu(numbers), Storage::Cpu(weights), true) = (&*x_storage, &*weight_storage, few)
    else {
        return candle_nn::ops::rms_norm(x, weight, epsilon);
    };
    let numbers = &numbers.as_slice::<f32>()?[x_layout.start_offset()..][..x.elem_count()];
    let weights = &weights.as_slice::<f32>()?[weight_layout.start_offset()..][..n];
    let mut normal = Vec::with_capacity(numbers.len());
    for row in numbers.chunks_exact(n) {
        let scale = 1.0 / (dot(row, row) / n as f32 + epsilon).sqrt();
        normal.extend(row.iter().zip(weights).map(|(x, weight)| x * scale * weight));
    }
    Tensor::from_vec(normal, x.shape(), x.device())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn rows_are_normalised_as_candle_does() -> candle_core::Result<()> {
        let x = Tensor::randn(0.0_f32, 3.0, (5, 96), &Device::Cpu)?;
        let weight = Tensor::randn(1.0_f32, 0.2, 96, &Device::Cpu)?;
        let actual = rms_norm(&x, &weight, 1e-6)?.flatten_all()?.to_vec1::<f32>()?;
        let expected = candle_nn::ops::rms_norm_slow(&x, &weight, 1e-6)?;
        for (actual, expected) in actual.iter().zip(expected.flatten_all()?.to_vec1::<f32>()?) {
            assert!((actual - expected).abs() < 1e-5);
        }
        Ok(())
    }
}
