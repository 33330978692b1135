//! Eight numbers in a register.
//!
//! For loops that the compiler does not make vector code of by itself: those with sums of several
//! rows at once. The instructions are those that the crate is built for; elsewhere it is an array.

#![expect(clippy::inline_always, reason = "a loop becomes vector code only with its body in view")]

#[cfg(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"))]
mod registers {
    #![expect(unsafe_code, reason = "std loads and stores registers by pointers only")]

    use std::arch::x86_64::{
        __m256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps,
    };

    /// Eight numbers.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Lanes(__m256);

    impl Lanes {
        /// Takes eight numbers.
        #[inline(always)]
        pub(crate) fn load(numbers: &[f32; 8]) -> Self {
            // SAFETY: 32 bytes are read, wherever they begin; the build has the instruction.
            Self(unsafe { _mm256_loadu_ps(numbers.as_ptr()) })
        }

        /// Gives them back.
        #[inline(always)]
        pub(crate) fn store(self, numbers: &mut [f32; 8]) {
            // SAFETY: 32 bytes are written to an array of 32; the build has the instruction.
            unsafe { _mm256_storeu_ps(numbers.as_mut_ptr(), self.0) }
        }

        /// One number eight times.
        #[inline(always)]
        pub(crate) fn all(number: f32) -> Self {
            // SAFETY: the build has the instruction.
            Self(unsafe { _mm256_set1_ps(number) })
        }

        /// `self * by + and`, each.
        #[inline(always)]
        pub(crate) fn times(self, by: Self, and: Self) -> Self {
            // SAFETY: the build has the instruction.
            Self(unsafe { _mm256_fmadd_ps(self.0, by.0, and.0) })
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma")))]
mod registers {
    use crate::arithmetic::multiply_add;

    /// Eight numbers.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Lanes([f32; 8]);

    impl Lanes {
        /// Takes eight numbers.
        #[inline(always)]
        pub(crate) fn load(numbers: &[f32; 8]) -> Self {
            Self(*numbers)
        }

        /// Gives them back.
        #[inline(always)]
        pub(crate) fn store(self, numbers: &mut [f32; 8]) {
            *numbers = self.0;
        }

        /// One number eight times.
        #[inline(always)]
        pub(crate) fn all(number: f32) -> Self {
            Self([number; 8])
        }

        /// `self * by + and`, each.
        #[inline(always)]
        pub(crate) fn times(self, by: Self, and: Self) -> Self {
            Self(std::array::from_fn(|lane| multiply_add(self.0[lane], by.0[lane], and.0[lane])))
        }
    }
}

pub(crate) use registers::Lanes;
