//! What is posted to the service that delivers one-time codes.

use minijinja::{Environment, UndefinedBehavior, context};

use super::Sms;

/// What the template `sms.body` is filled with.
#[derive(Debug, Clone, Copy)]
pub struct SmsWords<'a> {
    /// The number in E.164.
    pub phone: &'a str,
    /// The one-time code.
    pub code: &'a str,
    /// The whole message, the code included.
    pub text: &'a str,
    /// BCP 47 tag of the language that the message is in.
    pub language: &'a str,
}

/// Why a template gives nothing that could be posted. Says nothing of what it was filled with.
#[derive(Debug, thiserror::Error)]
pub enum SmsBodyError {
    /// It is not a template, or names something that there is not.
    #[error("the template cannot be filled: {0:?}, line {1}")]
    Template(minijinja::ErrorKind, usize),
    /// What comes out is not JSON.
    #[error(
        "what the template makes is not JSON at line {line} column {column}: write texts as {{{{ text|tojson }}}}"
    )]
    Json {
        /// Where.
        line: usize,
        /// Where in it.
        column: usize,
    },
    /// What comes out lacks what it is for.
    #[error("what the template makes has no {0} in it")]
    Lacks(&'static str),
}

impl Sms {
    /// The body to be posted for one message.
    ///
    /// # Errors
    /// The template cannot be filled, or does not make JSON.
    pub fn body_for(&self, words: SmsWords<'_>) -> Result<String, SmsBodyError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let SmsWords {
            phone,
            code,
            text,
            language,
        } = words;
        let body = templates
            .render_str(&self.body, context! { phone, code, text, language })
            .map_err(|error| SmsBodyError::Template(error.kind(), error.line().unwrap_or(1)))?;
        match serde_json::from_str::<serde::de::IgnoredAny>(&body) {
            Ok(_) => Ok(body),
            Err(error) => Err(SmsBodyError::Json {
                line: error.line(),
                column: error.column(),
            }),
        }
    }

    /// Tries the template with texts that break out of a JSON string written by hand. A
    /// name that there is not would come out as null: so code and number have to be there.
    pub(super) fn try_body(&self) -> Result<(), SmsBodyError> {
        let trial = SmsWords {
            phone: "+821012345678",
            code: "907856",
            text: "907856 \"a\\b\"\n가",
            language: "ko",
        };
        let body = self.body_for(trial)?;
        if !body.contains(trial.code) {
            return Err(SmsBodyError::Lacks("code"));
        }
        // However much of it: services differ in how they want a number.
        if !body.contains("12345678") {
            return Err(SmsBodyError::Lacks("phone"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Sms, SmsBodyError};

    fn sms(body: &str) -> Sms {
        Sms {
            url: String::new(),
            api_key: String::new().into(),
            body: body.to_owned(),
        }
    }

    #[test]
    fn template_makes_json_whatever_it_is_filled_with() {
        for good in [
            r#"{"to": {{ phone|tojson }}, "text": {{ text|tojson }}}"#,
            r#"{"to": "{{ phone }}", "otp": "{{ code }}", "lang": "{{ language }}"}"#,
            r#"[{{ phone[3:]|tojson }}, {% if language == "ko" %}{{ text|tojson }}{% else %}null{% endif %}]"#,
        ] {
            sms(good).try_body().unwrap();
        }
    }

    #[test]
    fn template_that_cannot_be_posted_is_refused() {
        for not_json in [
            r#"{"text": "{{ text }}"}"#,
            "{{ phone }}",
            "",
            "to={{ phone|urlencode }}",
        ] {
            let refused = sms(not_json).try_body();
            assert!(refused.is_err(), "{not_json}");
        }
        for lacking in [
            r#"{"to": {{ number|tojson }}, "text": {{ text|tojson }}}"#,
            r#"{"to": {{ phone|tojson }}, "text": {{ message|tojson }}}"#,
        ] {
            assert!(
                matches!(sms(lacking).try_body(), Err(SmsBodyError::Lacks(_))),
                "{lacking}"
            );
        }
        for unusable in ["{{ phone", "{{ number.national }}", "{{ phone|upcase }}"] {
            assert!(
                matches!(sms(unusable).try_body(), Err(SmsBodyError::Template(..))),
                "{unusable}"
            );
        }
    }

    #[test]
    fn complaint_says_nothing_of_whom_it_was_about() {
        let error = sms(r#"{"text": "{{ text }}"}"#)
            .try_body()
            .unwrap_err()
            .to_string();
        assert!(!error.contains("9078") && !error.contains("+82"), "{error}");
    }
}
