//! Whether this processor runs what the compiler made.

use hive_api::{ErrorKind, HiveError};

/// Fails on a processor that would stop the program with `illegal instruction` somewhere later.
///
/// `.cargo/config.toml` compiles for x86-64-v3, because candle chooses its kernels at that time.
pub(crate) fn check() -> Result<(), HiveError> {
    #[cfg(target_arch = "x86_64")]
    {
        let features = [
            ("avx2", std::is_x86_feature_detected!("avx2")),
            ("fma", std::is_x86_feature_detected!("fma")),
            ("f16c", std::is_x86_feature_detected!("f16c")),
            ("bmi2", std::is_x86_feature_detected!("bmi2")),
        ];
        let missing: Vec<_> =
            features.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            let message = format!("this processor lacks {}", missing.join(", "));
            return Err(HiveError::new(ErrorKind::Failed, message).hint(
                "this hive was built for x86-64-v3 (Intel since 2013, AMD since 2015); build it \
                 with `RUSTFLAGS=\"-C target-cpu=x86-64\"` to run here",
            ));
        }
    }
    Ok(())
}
