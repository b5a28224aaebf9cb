//! Numbers as text, without the formatting machinery: several are written for every request.

/// A number's decimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl From<u64> for Decimal {
    fn from(mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, start };
            }
        }
    }
}

impl From<usize> for Decimal {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl AsRef<[u8]> for Decimal {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0_u64, 7, 10, 65_535, 1_000_000, u64::MAX] {
            assert_eq!(Decimal::from(number).as_ref(), number.to_string().as_bytes());
        }
    }
}
