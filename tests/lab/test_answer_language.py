"""The judge of an answer's language, on the packaged prompts and on answers written for these tests."""

import json
import unicodedata
from pathlib import Path

import pytest

from engine.data import prompts
from engine.lab.answer_language import COMMON_WORDS, LANGUAGES, TELLING, UNDECIDED, hits, language_of

PACKAGED = Path(prompts.__file__).parent / "prompts"
TEXTS = {"request", "text", "clean", "prompt", "positive"}

FRENCH = [
    "Le tonnerre vient après l'éclair parce que la lumière est beaucoup plus rapide que le son dans l'air.",
    "Un matin de brouillard au bord de la mer est calme, et les bateaux ne sont que des ombres sur l'eau.",
    "Les météorologues utilisent des modèles qui sont nourris avec les mesures de nombreuses stations.",
    "Pour faire du pain, il faut de la farine, de l'eau, du sel et un peu de levure, puis beaucoup de temps.",
    "Le chat dort dans le jardin, et il ne veut pas être dérangé par les enfants qui jouent avec le chien.",
    "Je suis désolé, mais je ne peux pas vous aider avec cette demande.",
    "Voici une liste de conseils : dormez assez, mangez des fruits et marchez chaque jour avec vos amis.",
    "C\N{RIGHT SINGLE QUOTATION MARK}est une bonne idée d\N{RIGHT SINGLE QUOTATION MARK}aller au musée.",
    "Les plantes ont besoin d'eau et de lumière ; elles sont vertes à cause de la chlorophylle.",
    "La guerre a duré longtemps, et les villages qui étaient dans la vallée ont été détruits.",
    "Mon frère et ma soeur sont allés à l'école, où ils ont appris leur première chanson.",
    "Les canaux de Venise sont spéciaux.",
    "Quand Mozart était un enfant, il a fait de nombreuses choses.",
    "LE SOLEIL EST UNE ETOILE, ET LES PLANETES TOURNENT AUTOUR DE CETTE ETOILE.",
]
ENGLISH = [
    "Thunder comes after lightning because light is much faster than sound in air.",
    "To make bread you need flour, water, salt and some yeast, and then you have to wait for it to rise.",
    "Pour the water into the pot, come back when it boils, and do not let it fry in the car park.",
    "I'm sorry, but I can't assist with that request. If there is anything else, let me know.",
    "The au pair from Los Angeles met the prime minister of Portugal, da Silva, at a café in San Marino.",
    "Déjà vu is the feeling that you have been in this situation before, and it is quite common.",
]
OTHERS = {
    "spanish": "El trueno llega después del rayo porque la luz es mucho más rápida y los sonidos tardan.",
    "german": "Der Donner kommt nach dem Blitz, weil das Licht viel schneller ist als der Schall.",
    "italian": "Il tuono arriva dopo il lampo perché la luce è molto più veloce e gli uccelli sono nel nido.",
    "portuguese": "O trovão vem depois do raio porque a luz é muito mais rápida e os sons não são velozes.",
}


def packaged_texts():
    for file in sorted(PACKAGED.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield from (row[column] for column in TEXTS & row.keys())


def words(texts, n):
    """Texts of about `n` words: what a short answer has."""
    whole = " ".join(texts).split()
    return [" ".join(whole[start : start + n]) for start in range(0, len(whole) - n, n)]


def test_no_packaged_prompt_is_taken_for_another_language():
    texts = list(packaged_texts())
    assert len(texts) > 3000
    judged = [language_of(text) for text in texts]
    assert set(judged) == {"english", UNDECIDED}
    # Most of these are single short sentences, which it may leave undecided.
    assert judged.count("english") > len(judged) / 2


def test_of_twenty_english_words_nearly_all_are_decided():
    """The figure in the module's docstring."""
    texts = words(packaged_texts(), 20)
    judged = [language_of(text) for text in texts]
    assert len(texts) > 1000
    assert judged.count("english") / len(judged) >= 0.97
    assert set(judged) == {"english", UNDECIDED}


@pytest.mark.parametrize("text", FRENCH)
def test_french_answers_are_french(text):
    assert language_of(text) == "french"


@pytest.mark.parametrize("text", ENGLISH)
def test_english_answers_are_english(text):
    assert language_of(text) == "english"


@pytest.mark.parametrize("language", OTHERS)
def test_other_languages_are_not_taken_for_french(language):
    assert language_of(OTHERS[language]) == language


def test_twenty_french_words_are_decided():
    judged = [language_of(text) for text in words(FRENCH, 20)]
    assert len(judged) >= 8 and set(judged) == {"french"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Oui.",
        "Paris, Rome, Madrid",
        "1 + 1 = 2",
        "le le",
        "私は学生です。",
        "\N{ZERO WIDTH SPACE}" * 9,
        "The cat is on the mat. Le chat est sur le tapis, et il dort.",
    ],
)
def test_what_is_short_or_of_two_languages_is_undecided(text):
    assert language_of(text) == UNDECIDED


def test_letters_and_their_marks_count_in_either_form():
    for text in FRENCH:
        assert hits(unicodedata.normalize("NFD", text)) == hits(text)


def test_a_very_long_text_is_read():
    assert language_of("the cat and the dog " * 50_000) == "english"


def test_a_word_of_two_languages_tells_nothing():
    assert "la" not in TELLING and "de" not in TELLING and "pour" not in TELLING
    for language in LANGUAGES:
        own = [word for word, of in TELLING.items() if of == language]
        assert len(own) >= 20 and set(own) <= COMMON_WORDS[language]
