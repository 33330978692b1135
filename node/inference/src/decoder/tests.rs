use std::io::Cursor;

use super::*;
use crate::config::{Pairing, recognise};
use crate::testing::{FAMILIES, HEADS, KV_HEADS, LAYERS, Tiny, VOCAB, WIDTH, WINDOW};
use crate::weights::File;

fn decoder(tiny: &Tiny) -> Decoder {
    let mut file = Cursor::new(tiny.file());
    let (header, file_len) = crate::read_header(&mut file).unwrap();
    let config = recognise(&header).unwrap();
    crate::validate::tensors(&header, &config, file_len).unwrap();
    let mut source = File::new(file, &header, Device::Cpu);
    Decoder::new(config, &mut source, &Device::Cpu).unwrap()
}

/// A model whose matrices are 8-bit.
fn quantised(family: &str) -> Tiny {
    let mut tiny = Tiny::new(family);
    for (_, dims, kind) in &mut tiny.tensors {
        if dims.len() == 2 {
            *kind = candle_core::quantized::GgmlDType::Q8_0;
        }
    }
    tiny
}

/// 40 tokens, five windows long.
fn tokens() -> Vec<u32> {
    (0..40).map(|at| (at * 37 + 11) % VOCAB as u32).collect()
}

/// All logits, the tokens read `n` at a time.
fn logits(decoder: &Decoder, tokens: &[u32], n: usize) -> Vec<Vec<f32>> {
    let mut cache = decoder.cache();
    tokens.chunks(n).flat_map(|part| read(decoder, part, &mut cache, Rows::All)).collect()
}

/// The logits of one stretch.
fn read(decoder: &Decoder, tokens: &[u32], cache: &mut Cache, rows: Rows) -> Vec<Vec<f32>> {
    let logits = decoder.forward(&mut [Stretch { tokens, cache, rows }]).unwrap();
    logits.map_or_else(Vec::new, |logits| logits.to_vec2().unwrap())
}

#[track_caller]
fn assert_close(what: &str, actual: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (position, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        for (actual, expected) in actual.iter().zip(expected) {
            let error = (actual - expected).abs() / (1.0 + expected.abs());
            assert!(error < 2e-3, "{what} at {position}: {actual}, expected {expected}");
        }
    }
}

#[test]
fn every_family_computes_what_its_definition_says() {
    for family in FAMILIES {
        let decoder = decoder(&Tiny::new(family));
        let expected = reference(family, &decoder.config, &tokens());
        assert_close(family, &logits(&decoder, &tokens(), 40), &expected);
    }
}

#[test]
fn tokens_can_be_read_one_by_one_or_some_at_a_time() {
    for family in FAMILIES {
        let decoder = decoder(&Tiny::new(family));
        let expected = logits(&decoder, &tokens(), 40);
        for n in [1, 3, 7, 16] {
            assert_close(family, &logits(&decoder, &tokens(), n), &expected);
        }
    }
}

#[test]
fn the_last_row_is_the_last_of_all_rows() {
    let decoder = decoder(&Tiny::new("qwen3"));
    let all = logits(&decoder, &tokens(), 40);
    let mut cache = decoder.cache();
    let last = read(&decoder, &tokens(), &mut cache, Rows::Last);
    assert_close("last", &last, &all[39..]);
    assert!(read(&decoder, &[1, 2], &mut cache, Rows::None).is_empty());
    assert_eq!(cache.len(), 42);
}

#[test]
fn a_fresh_cache_remembers_nothing() {
    let decoder = decoder(&Tiny::new("gemma3"));
    let expected = logits(&decoder, &tokens(), 40);
    let mut other = decoder.cache();
    read(&decoder, &[5; 60], &mut other, Rows::All);
    assert_close("again", &logits(&decoder, &tokens(), 40), &expected);
}

/// Four texts of different lengths, one of them read in stretches while the others are written: each
/// gets the logits that it gets alone. One token of each takes the same arithmetic in the same order
/// as one token of one, so those are equal to the last bit where weights are ours to multiply; long
/// stretches are matrix products of candle's, whose order of summation depends on their shape.
#[test]
fn texts_read_together_are_read_as_if_alone() {
    for family in FAMILIES {
        let decoder = decoder(&Tiny::new(family));
        let texts: Vec<Vec<u32>> = (0..4_u32)
            .map(|text| (0..30).map(|at| (at * (31 + text) + text) % VOCAB as u32).collect())
            .collect();
        let alone: Vec<_> = texts.iter().map(|text| logits(&decoder, text, 30)).collect();
        let mut caches: Vec<Cache> = texts.iter().map(|_| decoder.cache()).collect();
        let mut together: Vec<Vec<Vec<f32>>> = vec![Vec::new(); 4];
        while together.iter().any(|rows| rows.len() < 30) {
            let ns: Vec<usize> = (0..4)
                .map(|text| (if text == 2 { 7 } else { 1 }).min(30 - together[text].len()))
                .collect();
            let mut batch: Vec<_> = caches
                .iter_mut()
                .enumerate()
                .filter(|(text, _)| 0 < ns[*text])
                .map(|(text, cache)| {
                    let at = cache.len();
                    Stretch { tokens: &texts[text][at..at + ns[text]], cache, rows: Rows::All }
                })
                .collect();
            let rows: Vec<Vec<f32>> =
                decoder.forward(&mut batch).unwrap().unwrap().to_vec2().unwrap();
            let mut rows = rows.into_iter();
            for (text, &n) in ns.iter().enumerate() {
                together[text].extend(rows.by_ref().take(n));
            }
        }
        for (together, alone) in together.iter().zip(&alone) {
            assert_close(family, together, alone);
        }
    }
}

/// Weights that are ours to multiply give the same bits, however many texts share them.
#[test]
fn single_tokens_of_several_texts_are_exactly_those_of_one() {
    for family in FAMILIES {
        let decoder = decoder(&quantised(family));
        let texts: Vec<Vec<u32>> = (0..5_u32)
            .map(|text| (0..20).map(|at| (at * (31 + text) + text) % VOCAB as u32).collect())
            .collect();
        let mut caches: Vec<Cache> = texts.iter().map(|_| decoder.cache()).collect();
        let mut together: Vec<Vec<Vec<f32>>> = vec![Vec::new(); 5];
        for at in 0..20 {
            let mut batch: Vec<_> = caches
                .iter_mut()
                .zip(&texts)
                .map(|(cache, text)| Stretch { tokens: &text[at..=at], cache, rows: Rows::Last })
                .collect();
            let rows: Vec<Vec<f32>> =
                decoder.forward(&mut batch).unwrap().unwrap().to_vec2().unwrap();
            for (text, row) in rows.into_iter().enumerate() {
                together[text].push(row);
            }
        }
        for (together, text) in together.iter().zip(&texts) {
            assert!(*together == logits(&decoder, text, 1), "{family}");
        }
    }
}

/// What a text goes on from, cut anywhere it may be, is what it would have read itself.
#[test]
fn a_copied_prefix_is_what_reading_it_gives() {
    for family in FAMILIES {
        let decoder = decoder(&Tiny::new(family));
        let expected = logits(&decoder, &tokens(), 40);
        let mut whole = decoder.cache();
        read(&decoder, &tokens(), &mut whole, Rows::None);
        for cut in [1, 2, 17, 39] {
            assert!(whole.holds(cut), "{family} {cut}");
            let mut cache = whole.prefix(cut, 3).unwrap();
            assert_eq!(cache.len(), cut);
            let rest = read(&decoder, &tokens()[cut..], &mut cache, Rows::All);
            assert_close(family, &rest, &expected[cut..]);
        }
        assert!(!whole.holds(41));
    }
}

/// Where a window has passed, what it passed is gone, and the cache says so.
#[test]
fn a_cache_does_not_hold_what_its_windows_have_passed() {
    let mut tiny = Tiny::new("gemma3");
    tiny.set("gemma3.context_length", candle_core::quantized::gguf_file::Value::U32(2_000));
    let decoder = decoder(&tiny);
    let tokens: Vec<u32> = (0..900).map(|at| at * 31 % VOCAB as u32).collect();
    let whole = logits(&decoder, &tokens, 900);
    let mut cache = decoder.cache();
    for part in tokens[..860].chunks(43) {
        read(&decoder, part, &mut cache, Rows::None);
    }
    assert!(!cache.holds(100));
    // The last stretch that may be read at once, at least.
    for cut in [860 - CHUNK, 800, 860] {
        assert!(cache.holds(cut), "{cut}");
        let mut copy = cache.prefix(cut, 0).unwrap();
        let rest = read(&decoder, &tokens[cut..], &mut copy, Rows::All);
        assert_close("rest", &rest, &whole[cut..]);
    }
    let before = cache.n_bytes();
    cache.shrink().unwrap();
    assert!(cache.holds(860 - CHUNK) && cache.n_bytes() <= before);
}

/// A local layer's memory does not grow with the text.
#[test]
fn a_window_moves_on_when_its_room_is_full() {
    let mut tiny = Tiny::new("gemma3");
    tiny.set("gemma3.context_length", candle_core::quantized::gguf_file::Value::U32(2_000));
    let decoder = decoder(&tiny);
    let tokens: Vec<u32> = (0..700).map(|at| at * 31 % VOCAB as u32).collect();
    let whole = logits(&decoder, &tokens, 700);
    let pieces = logits(&decoder, &tokens, 100);
    assert_close("pieces", &pieces, &whole);
}

#[test]
fn eight_bit_weights_stay_close_to_the_originals() {
    let exact = logits(&decoder(&Tiny::new("llama")), &tokens(), 1);
    let decoder = decoder(&quantised("llama"));
    let few = logits(&decoder, &tokens(), 1);
    let many = logits(&decoder, &tokens(), 40);
    assert_close("few and many rows", &many, &few);
    let error: f32 = few.concat().iter().zip(exact.concat()).map(|(a, b)| (a - b).abs()).sum();
    assert!(error / ((40 * VOCAB) as f32) < 0.2, "{error}");
}

/// The graph from its definitions: no cache, no tricks, double precision.
fn reference(family: &str, config: &Config, tokens: &[u32]) -> Vec<Vec<f32>> {
    let head_dim = config.head_dim;
    let weights = |name: &str, dims: &[usize]| -> Vec<f64> {
        Tiny::weights(name, dims).into_iter().map(f64::from).collect()
    };
    let apply = |name: &str, x: &[f64], n_out: usize, bias: bool| -> Vec<f64> {
        let matrix = weights(&format!("{name}.weight"), &[n_out, x.len()]);
        let mut out: Vec<f64> = matrix
            .chunks_exact(x.len())
            .map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum())
            .collect();
        if bias {
            let bias = weights(&format!("{name}.bias"), &[n_out]);
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        }
        out
    };
    let norm = |name: &str, x: &[f64]| -> Vec<f64> {
        let scale = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + 1e-6).sqrt();
        let weights = weights(&format!("{name}.weight"), &[x.len()]);
        x.iter().zip(weights).map(|(x, weight)| x * scale * weight).collect()
    };
    let divisors = match family {
        "llama" => weights("rope_freqs.weight", &[head_dim / 2]),
        _ => vec![1.0; head_dim / 2],
    };
    let gemma = family == "gemma3";
    let rotate = |head: &mut [f64], position: usize, global: bool| {
        let base: f64 = if gemma && !global { 10_000.0 } else { 50_000.0 };
        let factor = if family == "qwen2" { 4.0 } else { 1.0 };
        for (pair, divisor) in divisors.iter().enumerate() {
            let (a, b) = match config.pairing {
                Pairing::Neighbours => (2 * pair, 2 * pair + 1),
                Pairing::Halves => (pair, pair + head_dim / 2),
            };
            let speed = base.powf(-(2.0 * pair as f64) / head_dim as f64);
            let (sin, cos) = (position as f64 / factor * speed / divisor).sin_cos();
            (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
        }
    };
    let add = |x: &mut [f64], y: &[f64]| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);

    let table = weights("token_embd.weight", &[VOCAB, WIDTH]);
    let scale = if gemma { 8.0 } else { 1.0 };
    let row = |token: &u32| table[*token as usize * WIDTH..][..WIDTH].iter().map(|x| x * scale);
    let mut stream: Vec<Vec<f64>> = tokens.iter().map(|token| row(token).collect()).collect();
    for layer in 0..LAYERS {
        let at = |site: &str| format!("blk.{layer}.{site}");
        let global = match family {
            "gemma3" => layer == 5,
            "mistral" => false,
            _ => true,
        };
        let heads = |site: &str, n: usize| -> Vec<Vec<f64>> {
            let normal = stream.iter().map(|x| norm(&at("attn_norm"), x));
            normal.map(|x| apply(&at(site), &x, n * head_dim, family == "qwen2")).collect()
        };
        let (mut queries, mut keys) = (heads("attn_q", HEADS), heads("attn_k", KV_HEADS));
        let values = heads("attn_v", KV_HEADS);
        for (site, rows) in [("attn_q_norm", &mut queries), ("attn_k_norm", &mut keys)] {
            for (position, row) in rows.iter_mut().enumerate() {
                for head in row.chunks_exact_mut(head_dim) {
                    if matches!(family, "qwen3" | "gemma3") {
                        head.copy_from_slice(&norm(&at(site), head));
                    }
                    rotate(head, position, global);
                }
            }
        }
        for (position, x) in stream.iter_mut().enumerate() {
            let from = if global { 0 } else { (position + 1).saturating_sub(WINDOW) };
            let mut mixed = Vec::new();
            for head in 0..HEADS {
                let own = |row: &Vec<f64>| -> Vec<f64> {
                    row[head / (HEADS / KV_HEADS) * head_dim..][..head_dim].to_vec()
                };
                let query = &queries[position][head * head_dim..][..head_dim];
                let scores: Vec<f64> = (from..=position)
                    .map(|other| {
                        let key = own(&keys[other]);
                        let score: f64 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
                        (score / (head_dim as f64).sqrt()).exp()
                    })
                    .collect();
                let total: f64 = scores.iter().sum();
                let mut out = vec![0.0; head_dim];
                for (score, other) in scores.iter().zip(from..) {
                    let value = own(&values[other]);
                    out.iter_mut().zip(value).for_each(|(out, v)| *out += score / total * v);
                }
                mixed.extend(out);
            }
            let mut attended = apply(&at("attn_output"), &mixed, WIDTH, false);
            if gemma {
                attended = norm(&at("post_attention_norm"), &attended);
            }
            add(x, &attended);
            let h = norm(&at("ffn_norm"), x);
            let gate = apply(&at("ffn_gate"), &h, config.ffn, false);
            let up = apply(&at("ffn_up"), &h, config.ffn, false);
            let act = |x: f64| {
                if gemma {
                    let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                    0.5 * x * (1.0 + z.tanh())
                } else {
                    x / (1.0 + (-x).exp())
                }
            };
            let gated: Vec<f64> = gate.iter().zip(&up).map(|(&gate, up)| act(gate) * up).collect();
            let mut out = apply(&at("ffn_down"), &gated, WIDTH, false);
            if gemma {
                out = norm(&at("post_ffw_norm"), &out);
            }
            add(x, &out);
        }
    }
    let head = if matches!(family, "llama" | "qwen2") { "output" } else { "token_embd" };
    stream
        .iter()
        .map(|x| apply(head, &norm("output_norm", x), VOCAB, false))
        .map(|logits| logits.into_iter().map(|x| x as f32).collect())
        .collect()
}
