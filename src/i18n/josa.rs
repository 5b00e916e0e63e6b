//! Korean particles: which form follows a word depends on how the word's end is read.

/// How a word ends when it is read aloud in Korean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Vowel,
    /// The consonant ㄹ, after which 로 is used as after a vowel.
    Rieul,
    Consonant,
    /// A script or sign whose reading is not known here.
    Unknown,
}

/// The form of a particle after `word`. `pair` names the form after a consonant,
/// then the one after a vowel: `"은/는"`, `"이/가"`, `"을/를"`, `"과/와"`, `"으로/로"`.
///
/// Where the reading is not known both are shown, as people write them: `이(가)`, `(으)로`.
pub(super) fn particle(word: &str, pair: &str) -> String {
    let (consonant, vowel) = pair.split_once('/').unwrap_or((pair, pair));
    let to = consonant == "으로";
    match ending(word) {
        Ending::Vowel => vowel.to_owned(),
        Ending::Rieul if to => vowel.to_owned(),
        Ending::Rieul | Ending::Consonant => consonant.to_owned(),
        Ending::Unknown if to => "(으)로".to_owned(),
        Ending::Unknown => format!("{consonant}({vowel})"),
    }
}

fn ending(word: &str) -> Ending {
    // Closing quotes, brackets and full stops are not read.
    let word = word.trim_end_matches(|c: char| !c.is_alphanumeric());
    let Some(last) = word.chars().next_back() else {
        return Ending::Unknown;
    };
    match last {
        '가'..='힣' => match (u32::from(last) - u32::from('가')) % 28 {
            0 => Ending::Vowel,
            8 => Ending::Rieul,
            _ => Ending::Consonant,
        },
        // Letters alone are read by their names: 리을, 기역, 니은, but ㅏ as it is. Digits: 영, 일, 이,
        // 삼, 사, 오, 육, 칠, 팔, 구; after a ten or more the 0 is 십, 백, 천, 만.
        'ㄹ' | '1' | '7' | '8' => Ending::Rieul,
        'ㄱ'..='ㅎ' | '0' | '3' | '6' | 'ん' | 'ン' => Ending::Consonant,
        'ㅏ'..='ㅣ' | '2' | '4' | '5' | '9' | 'ぁ'..='ゟ' | 'ァ'..='ヿ' => Ending::Vowel,
        c if c.is_ascii_alphabetic() => latin(word),
        _ => Ending::Unknown,
    }
}

/// How the Latin letters at the end of `text` are read.
fn latin(text: &str) -> Ending {
    let start = text
        .rfind(|c: char| !c.is_ascii_alphabetic())
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    let run = &text[start..];
    if run.bytes().all(|b| b.is_ascii_uppercase()) || run.len() == 1 {
        // Spelled out: only 엘, 엠, 엔 and 알 end in a consonant.
        return match run.bytes().next_back().map(|b| b.to_ascii_uppercase()) {
            Some(b'L' | b'R') => Ending::Rieul,
            Some(b'M' | b'N') => Ending::Consonant,
            _ => Ending::Vowel,
        };
    }
    let word = run.to_ascii_lowercase();
    let is_vowel = |b: u8| matches!(b, b'a' | b'e' | b'i' | b'o' | b'u' | b'y');
    match word.as_bytes() {
        // 톰, 존, 킹, and a silent e: 제인, 앤.
        [.., b'm' | b'n', b'e'] if word.len() > 3 => Ending::Consonant,
        [.., b'm' | b'n'] | [.., b'n', b'g'] | [.., b'c', b'k'] => Ending::Consonant,
        // 폴, 니콜, 구글.
        [.., b'l'] => Ending::Rieul,
        [.., b'l', b'e'] if word.len() > 3 => Ending::Rieul,
        // A stop right after one vowel closes the syllable (밥, 팻); after two or another consonant it
        // is read with ㅡ (마이크, 로버트).
        [.., before, vowel, b'b' | b'k' | b'p' | b't'] if is_vowel(*vowel) && !is_vowel(*before) => {
            Ending::Consonant
        }
        _ => Ending::Vowel,
    }
}

#[cfg(test)]
mod tests {
    use super::particle;

    #[test]
    fn particle_follows_the_last_sound() {
        for (word, subject) in [
            ("민지", "가"),
            ("지훈", "이"),
            ("서울", "이"),
            ("민지님", "이"),
            ("알 수 없는 사용자", "가"),
            // digits, as read: 영 일 이 삼 사 오 육 칠 팔 구, 십
            ("0", "이"),
            ("1", "이"),
            ("2", "가"),
            ("3", "이"),
            ("4", "가"),
            ("5", "가"),
            ("6", "이"),
            ("7", "이"),
            ("8", "이"),
            ("9", "가"),
            ("10", "이"),
            // Latin words and letters, as read
            ("Anna", "가"),
            ("Tom", "이"),
            ("Paul", "이"),
            ("Jane", "이"),
            ("Mike", "가"),
            ("Bob", "이"),
            ("Robert", "가"),
            ("Jack", "이"),
            ("King", "이"),
            ("Peter", "가"),
            ("KBS", "가"),
            ("SM", "이"),
            ("URL", "이"),
            ("민지 L", "이"),
            ("X", "가"),
            ("한글Kim", "이"),
            // what is not read is skipped
            ("‘점심’", "이"),
            ("모임(2)", "가"),
            ("가자!", "가"),
            // not known: both
            ("😀", "이(가)"),
            ("北京", "이(가)"),
            ("", "이(가)"),
        ] {
            assert_eq!(particle(word, "이/가"), subject, "{word}");
        }
    }

    #[test]
    fn each_pair_has_its_own_rule() {
        assert_eq!(particle("점심", "을/를"), "을");
        assert_eq!(particle("저녁 회의", "을/를"), "를");
        assert_eq!(particle("회의", "은/는"), "는");
        assert_eq!(particle("점심", "은/는"), "은");
        assert_eq!(particle("강남", "으로/로"), "으로");
        assert_eq!(particle("서울", "으로/로"), "로");
        assert_eq!(particle("7", "으로/로"), "로");
        assert_eq!(particle("제주", "으로/로"), "로");
        assert_eq!(particle("😀", "으로/로"), "(으)로");
        assert_eq!(particle("Paul", "과/와"), "과");
    }
}
