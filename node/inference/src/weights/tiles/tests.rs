use proptest::prelude::*;

use super::super::octets::{Blocks, Octets};
use super::super::packed::Packed;
use super::super::superblocks::{Q6K, Superblocks};
use super::*;

/// Blocks of a kind with some scales and any numbers.
fn blocks(bits: Bits, n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let mut bytes = Vec::new();
    // Where the scales of a block are.
    let places: &[usize] = match bits {
        Bits::Four => &[0, 2],
        Bits::Six => &[208],
        Bits::Five | Bits::Eight => &[0],
    };
    for _ in 0..n {
        let mut block: Vec<u8> = (0..bits.block_bytes()).map(|_| next() as u8).collect();
        for &at in places {
            // A half from 1/256 to 1/32, of either sign.
            let scale = (next() % 0x0c00 + 0x1c00) | (next() % 2) << 15;
            block[at..at + 2].copy_from_slice(&(scale as u16).to_le_bytes());
        }
        bytes.extend(block);
    }
    bytes
}

/// Some weights, and what they are one by one.
fn tiles(bits: Bits, n_in: usize, n_out: usize, seed: u64) -> Option<(Tiles, Vec<Vec<f32>>)> {
    let row_len = bits.row_bytes(n_in);
    let blocks = blocks(bits, n_out * row_len / bits.block_bytes(), seed);
    let mut tiles = Tiles::zero(n_in, n_out, bits)?;
    // In two pieces, the second of which ends within a tile.
    let middle = (n_out / 2).next_multiple_of(ROWS).min(n_out);
    let (first, second) = blocks.split_at(middle * row_len);
    tiles.put(0, first);
    if !second.is_empty() {
        tiles.put(middle, second);
    }
    fn plain(matrix: &impl Packed, n_out: usize) -> Vec<Vec<f32>> {
        let row = |row| {
            let mut out = Vec::new();
            matrix.unpack(row, &mut out);
            out
        };
        (0..n_out).map(row).collect()
    }
    let rows = match bits {
        Bits::Four => plain(&Superblocks::<Q4K>::new(n_in, blocks), n_out),
        Bits::Six => plain(&Superblocks::<Q6K>::new(n_in, blocks), n_out),
        Bits::Five => plain(&Octets::from_blocks(n_in, Blocks::Q5_0, &blocks), n_out),
        Bits::Eight => plain(&Octets::from_blocks(n_in, Blocks::Q8_0, &blocks), n_out),
    };
    Some((tiles, rows))
}

fn activations(n: usize, n_in: usize, seed: u64) -> Vec<f32> {
    let number = |at: usize| {
        let mixed = (at as u64 + 1).wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let unit = (mixed >> 40) as f32 / (1 << 24) as f32 - 0.5;
        // Some are a thousand times as large as others, as in real layers.
        if at.is_multiple_of(97) { 1_000.0 * unit } else { unit }
    };
    (0..n * n_in).map(number).collect()
}

/// A kind, and columns that it can have.
fn shapes() -> impl Strategy<Value = (Bits, usize)> {
    prop_oneof![
        (Just(Bits::Eight), (1..9_usize).prop_map(|n| n * RUN)),
        (Just(Bits::Five), (1..9_usize).prop_map(|n| n * RUN)),
        (Just(Bits::Four), (1..4_usize).prop_map(|n| n * superblocks::LEN)),
        (Just(Bits::Six), (1..4_usize).prop_map(|n| n * superblocks::LEN)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tiles_hold_what_the_file_holds(
        (bits, n_in) in shapes(), n_out in 1..70_usize, seed: u64,
    ) {
        let Some((tiles, rows)) = tiles(bits, n_in, n_out, seed) else { return Ok(()) };
        for (row, expected) in rows.iter().enumerate() {
            let mut unpacked = Vec::new();
            tiles.unpack(row, &mut unpacked);
            prop_assert_eq!(&unpacked, expected);
        }
    }

    #[test]
    fn products_are_those_of_a_plain_loop(
        (bits, n_in) in shapes(), n_out in 1..70_usize, n in 1..20_usize, seed: u64,
    ) {
        let Some((tiles, rows)) = tiles(bits, n_in, n_out, seed) else { return Ok(()) };
        let x = activations(n, n_in, seed);
        let products = tiles.multiply(&x);
        for (x, products) in x.chunks(n_in).zip(products.chunks(n_out)) {
            for (row, &product) in rows.iter().zip(products) {
                let pairs = row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let size: f64 = pairs.clone().map(f64::abs).sum();
                let expected: f64 = pairs.sum();
                // Numbers are right to 23 bits of the largest in their run, sums as `f32` are.
                let runs = row.chunks(RUN).zip(x.chunks(RUN)).map(|(row, x)| {
                    let most = x.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                    f64::from(most) * row.iter().map(|w| f64::from(w.abs())).sum::<f64>()
                });
                let error = 2.0_f64.powi(-22) * runs.sum::<f64>() + 1e-6 * size;
                prop_assert!((f64::from(product) - expected).abs() <= error);
            }
            // What is beside it changes nothing, to the last bit.
            prop_assert_eq!(&tiles.multiply(x), products);
        }
    }

    #[test]
    fn the_largest_product_is_found_without_all_of_them(
        n_runs in 1..9_usize, n_out in 1..300_usize, n in 1..7_usize, seed: u64,
    ) {
        let n_in = n_runs * RUN;
        let Some((tiles, _)) = tiles(Bits::Eight, n_in, n_out, seed) else { return Ok(()) };
        let x = activations(n, n_in, seed);
        let products = tiles.multiply(&x);
        let expected: Vec<u32> = products.chunks(n_out).map(first_largest).collect();
        prop_assert_eq!(tiles.largest(&x), Some(expected));
    }

    /// The bound holds for each row, and not only for the largest.
    #[test]
    fn no_product_is_larger_than_its_bound(
        n_runs in 1..9_usize, n_out in 1..70_usize, seed: u64,
    ) {
        let n_in = n_runs * RUN;
        let Some((tiles, _)) = tiles(Bits::Eight, n_in, n_out, seed) else { return Ok(()) };
        let x = activations(1, n_in, seed);
        let digits = Digits::scored(&x, tiles.bits);
        for at in 0..tiles.n_tiles() {
            let [score] = tiles.vnni.scores(tiles.tile(at), &[&digits]);
            let [products] = tiles.vnni.products(tiles.bits, tiles.tile(at), &[&digits]);
            for product in &products[..tiles.tile(at).n_rows] {
                prop_assert!(*product <= score.upper);
            }
        }
    }
}

fn first_largest(products: &[f32]) -> u32 {
    let top = products.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    products.iter().position(|&product| top <= product).unwrap() as u32
}

#[test]
fn equals_are_told_apart_by_their_place() {
    let (n_in, n_out) = (64, 48);
    let Some(mut tiles) = Tiles::zero(n_in, n_out, Bits::Eight) else { return };
    let row = blocks(Bits::Eight, n_in / RUN, 7);
    tiles.put(0, &row.repeat(n_out));
    assert_eq!(tiles.largest(&activations(1, n_in, 3)), Some(vec![0]));
}

#[test]
fn what_is_no_number_has_no_largest() {
    let Some((tiles, _)) = tiles(Bits::Eight, 64, 48, 9) else { return };
    for broken in [f32::NAN, f32::INFINITY] {
        let mut x = activations(1, 64, 5);
        x[40] = broken;
        assert_eq!(tiles.largest(&x), None);
        assert!(tiles.multiply(&x).iter().all(|product| !product.is_finite()));
    }
}
