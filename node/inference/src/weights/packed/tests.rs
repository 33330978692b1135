use candle_core::Tensor;
use candle_core::quantized::{GgmlDType, QTensor};

use super::super::octets::{Blocks, Octets};
use super::super::superblocks::{Q4K, Q6K, Superblocks};
use super::*;

const N_IN: usize = 512;
const N_OUT: usize = 37;

/// Weights as candle packs them, and as candle unpacks them again.
fn packed(kind: GgmlDType) -> (Vec<u8>, Tensor) {
    let weights = Tensor::randn(0.0_f32, 1.0, (N_OUT, N_IN), &Device::Cpu).unwrap();
    let weights = QTensor::quantize(&weights, kind).unwrap();
    (weights.data().unwrap().into_owned(), weights.dequantize(&Device::Cpu).unwrap())
}

fn check<P: Packed>(matrix: P, plain: &Tensor) {
    assert_eq!((matrix.n_in(), matrix.n_out()), (N_IN, N_OUT));
    let matrix = Multiply(matrix);
    let plain_rows: Vec<f32> = plain.flatten_all().unwrap().to_vec1().unwrap();
    for (ours, theirs) in matrix.rows(0..N_OUT).iter().zip(&plain_rows) {
        assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
    }
    for n in [1, 3, MANY - 1, MANY, 40] {
        let x = Tensor::randn(0.0_f32, 1.0, (n, N_IN), &Device::Cpu).unwrap();
        let expected = x.matmul(&plain.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
        let actual = matrix.forward(&x).unwrap().to_vec2::<f32>().unwrap();
        for (actual, expected) in actual.concat().iter().zip(expected.concat()) {
            assert!((actual - expected).abs() < 1e-3, "{n} rows: {actual} {expected}");
        }
    }
}

#[test]
fn packed_weights_are_multiplied_without_rounding() {
    let (bytes, plain) = packed(GgmlDType::Q8_0);
    check(Octets::from_q8_0(N_IN, &bytes), &plain);
    let (bytes, plain) = packed(GgmlDType::Q5_0);
    check(Octets::from_blocks(N_IN, Blocks::Q5_0, &bytes), &plain);
    let (bytes, plain) = packed(GgmlDType::Q4K);
    check(Superblocks::<Q4K>::new(N_IN, bytes), &plain);
    let (bytes, plain) = packed(GgmlDType::Q6K);
    check(Superblocks::<Q6K>::new(N_IN, bytes), &plain);
}

#[test]
fn rows_of_another_length_are_refused() {
    let (bytes, _) = packed(GgmlDType::Q8_0);
    let matrix = Multiply(Octets::from_q8_0(N_IN, &bytes));
    let x = Tensor::zeros((1, N_IN + 32), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(matrix.forward(&x).is_err());
}
