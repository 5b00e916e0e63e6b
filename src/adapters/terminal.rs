//! Shows one-time codes on the server's own terminal: the embedded way to deliver them.

use std::{io::Write, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::{
    domain::phone::Phone,
    i18n::Language,
    ports::{CodeSender, SendCodeError},
};

/// How long a terminal that takes nothing (a full pipe, a stopped pager) is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Digits at a number's end that are shown.
const SHOWN_AT_END: usize = 4;

/// Writes codes for people who sit at the terminal. Goes past the log on purpose:
/// logs are kept and shipped, and a code is a secret.
pub struct TerminalSender {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl TerminalSender {
    /// Writes to the process's standard output.
    pub fn stdout() -> Self {
        Self::to(std::io::stdout())
    }

    /// Writes to `out`.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Arc::new(Mutex::new(Box::new(out))),
        }
    }
}

#[async_trait]
impl CodeSender for TerminalSender {
    async fn send(&self, phone: &Phone, code: &str, _language: Language) -> Result<(), SendCodeError> {
        let line = format!("  code for {}: {code}\n", masked(phone));
        let out = Arc::clone(&self.out);
        // On a thread of its own: a terminal may block, and the caller's thread serves others.
        let written = tokio::task::spawn_blocking(move || {
            let mut out = out
                .try_lock_for(PATIENCE)
                .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::TimedOut))?;
            out.write_all(line.as_bytes())?;
            out.flush()
        });
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(SendCodeError(Box::new(error))),
            Ok(Err(error)) => Err(SendCodeError(Box::new(error))),
            Err(error) => Err(SendCodeError(Box::new(error))),
        }
    }
}

/// `+82 10-****-5678`: enough to know one's own number by.
fn masked(phone: &Phone) -> String {
    let international = phonenumber::parse(None, phone.as_str()).map_or_else(
        |_| phone.as_str().to_owned(),
        |number| number.format().mode(phonenumber::Mode::International).to_string(),
    );
    let (country, national) = international.split_once(' ').unwrap_or(("", &international));
    let digits = national.chars().filter(char::is_ascii_digit).count();
    let shown_at_start = if digits >= 9 { 2 } else { 0 };
    let mut position = 0;
    let hidden: String = national
        .chars()
        .map(|c| {
            if !c.is_ascii_digit() {
                return c;
            }
            position += 1;
            if position <= shown_at_start || position + SHOWN_AT_END > digits {
                c
            } else {
                '*'
            }
        })
        .collect();
    format!("{country} {hidden}").trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Arc};

    use parking_lot::Mutex;

    use super::{TerminalSender, masked};
    use crate::{domain::phone::Phone, i18n::Language, ports::CodeSender};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn phone() -> Phone {
        Phone::parse("010-1234-5678", "KR").unwrap()
    }

    #[tokio::test]
    async fn one_line_with_the_code_and_a_masked_number() {
        let paper = Paper::default();
        let sender = TerminalSender::to(paper.clone());
        sender.send(&phone(), "123456", Language::Ko).await.unwrap();
        let text = String::from_utf8(paper.0.lock().clone()).unwrap();
        assert_eq!(text, "  code for +82 10-****-5678: 123456\n");
    }

    #[tokio::test]
    async fn a_terminal_that_is_gone_is_an_error() {
        let sender = TerminalSender::to(Broken);
        assert!(sender.send(&phone(), "123456", Language::En).await.is_err());
    }

    #[test]
    fn numbers_are_masked_everywhere() {
        for (number, shown) in [
            ("+821012345678", "+82 10-****-5678"),
            ("+14155552671", "+1 41*-***-2671"),
        ] {
            assert_eq!(masked(&Phone::parse(number, "KR").unwrap()), shown);
        }
        // A short number shows its end only.
        assert_eq!(
            masked(&Phone::parse("+6561234567", "KR").unwrap()),
            "+65 **** 4567"
        );
        assert_eq!(
            masked(&Phone::from_stored("broken12345".to_owned())),
            "broken*2345"
        );
    }
}
