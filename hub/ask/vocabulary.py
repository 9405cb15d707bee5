"""The stated vocabulary: every phrase that is understood, in both languages, and what it means.

A meaning is `kind:value`. Phrases are separated by `|`; accents, capitals and plurals do not matter. The fleet's own names
(sites, devices, assets, profiles, channels) come on top of it: see `names.py`. Times and numbers are not listed: `times.py`,
`numbers.py`. docs/ask.md is made from this table and held to it by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from hub.ask.question import LANGUAGES, Language
from hub.ask.text import tokens


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a phrase stands for. `thing`: what is asked about. `event`: a thing, as a verb. `ask`: what is wanted of it. `order`,
    `aggregate`, `measure`: which and how. `value`: a state or kind, told apart by the thing. `time`: a column of times."""

    kind: str
    value: str


VOCABULARY: Final[Mapping[str, tuple[str, str]]] = {
    # what is asked about
    "thing:alert": ("alert|alarm|incident", "alerte|alarme|incident"),
    "thing:sensor_fault": (
        "sensor fault|sensor problem|sensor failure|faulty sensor|sensor|fault",
        "defaut de capteur|probleme de capteur|panne de capteur|capteur defaillant|capteur en panne|capteur|defaut|sonde",
    ),
    "thing:asset": ("asset|machine|equipment", "equipement|machine"),
    "thing:device": ("device|gateway", "appareil|passerelle|boitier"),
    "thing:site": ("site|plant|factory|location", "site|usine|lieu"),
    "thing:channel": ("channel|cause|reason|signal", "voie|canal|cause|raison|signal"),
    "thing:profile": ("profile|type of machine|kind of machine", "profil|type de machine|type d equipement"),
    "thing:window": ("window", "fenetre"),
    "thing:rollout": ("rollout|deployment", "deploiement|mise en production"),
    "thing:model": ("model|bundle", "modele"),
    "thing:training_run": ("training run|training", "entrainement"),
    "thing:ledger": ("ledger|account", "registre|compte"),
    "thing:missing": (
        "missing data|missing item|data missing|data loss|lost data|gap|is missing|are missing|lost|missing from",
        "donnee manquante|element manquant|manque|manquent|manque t il|perte de donnee|donnee perdue|trou|perdu",
    ),
    "thing:severity": ("severity", "gravite|severite"),
    "thing:kind": ("kind|type", "type|genre|sorte"),
    "thing:state": ("state|status", "etat|statut"),
    "thing:lane": ("lane", "file"),
    "thing:verdict": ("verdict|feedback", "verdict|retour"),
    "thing:hardware": ("hardware", "materiel"),
    # what happened, as a verb
    "event:alert": (
        "alarmed|alarming|alerted|rang|ring|went off|go off|raised an alert|raised an alarm|raise the alarm|raised the alarm|"
        "raise an alarm|sounded|had an alert|had an alarm|fired",
        "sonne|sonnent|sonner|sonnait|sonnaient|declenche|donne l alerte|donne l alarme|eu une alerte|eu une alarme",
    ),
    "event:trouble": ("is wrong|wrong|problem|trouble|going on", "ne va pas|va mal|probleme|ennui|cloche"),
    "event:happened": ("happened|happen|occurred|went on", "s est passe|se passe|arrive"),
    # by what time
    "bucket:hour": ("hour|hourly", "heure|horaire"),
    "bucket:day": ("day|daily", "jour|journee|quotidien|journalier"),
    "bucket:week": ("week|weekly", "semaine|hebdomadaire"),
    "bucket:month": ("month|monthly", "mois|mensuel"),
    # what is wanted
    "ask:count": ("how many|number of|count|how often|how many times", "combien|nombre de|nombre|combien de fois|compte"),
    "ask:compare": ("compare|versus|vs|compared", "compare|comparer|comparaison|versus|vs|par rapport a"),
    "ask:more": ("more|fewer|less|than", "plus de|plus d|moins de|moins d|que"),
    "ask:trend": (
        "trend|over time|evolution|history|course|curve|plot",
        "evolution|tendance|au fil du temps|historique|courbe|trace",
    ),
    "ask:when": ("when|at what time", "quand|a quelle heure"),
    "ask:how_long": ("how long|how much time", "combien de temps"),
    "ask:why": ("why", "pourquoi"),
    "ask:much": ("how much", "quelle quantite de"),
    "ask:never": ("never|without any|without|no", "jamais|sans|aucun|aucune"),
    "ask:not": ("not|except|excluding|outside of|outside|other than", "pas|sauf|excepte|hors de|hors|autre que|en dehors de"),
    "ask:per": ("per|for each|by|each|every|grouped by", "par|pour chaque|chaque|selon"),
    # which of them
    "order:most": ("most|the most|most often|worst", "le plus de|le plus d|le plus souvent|le plus|la plupart|pire"),
    "order:least": ("fewest|least|the least|the fewest", "le moins de|le moins d|le moins souvent|le moins"),
    "order:last": (
        "last|latest|newest|most recent|most recently|last time|lately|recent",
        "dernier|derniere|en dernier|pour la derniere fois|derniere fois|le plus recent|la plus recente|recent|recente",
    ),
    "order:first": (
        "first|oldest|earliest|first time",
        "premier|premiere|en premier|pour la premiere fois|le plus ancien|la plus ancienne",
    ),
    "order:longest": ("longest", "la plus longue|le plus long|plus longue|plus long"),
    "order:shortest": ("shortest|briefest", "la plus courte|le plus court|plus courte|plus court|la plus breve"),
    "order:highest": (
        "highest|largest|greatest|biggest|maximum|max|maximal",
        "la plus haute|le plus haut|la plus grande|le plus grand|plus grande|plus grand|la plus elevee|le plus eleve|maximum|maximal",
    ),
    "order:lowest": (
        "lowest|smallest|minimum|min|minimal",
        "la plus basse|le plus bas|la plus petite|le plus petit|plus petite|plus petit|la plus faible|le plus faible|minimum|minimal",
    ),
    "order:top": ("top", "top"),
    "aggregate:avg": ("average|mean|on average", "moyenne|moyen|en moyenne"),
    "aggregate:sum": ("total|sum|altogether|in total", "total|totale|somme|au total|en tout"),
    "aggregate:median": ("median", "mediane|median"),
    # of what
    "measure:duration": ("duration|length|lasted|last for", "duree|dure|duraient"),
    "measure:p_value": ("p-value|p value", "p-value|p value|valeur p|p-valeur"),
    "measure:score": ("score", "score"),
    "measure:backlog": (
        "backlog|items waiting|waiting item|waiting",
        "arriere|retard|element en attente|en attente|attente",
    ),
    "measure:version": ("agent version|version|agent", "version de l agent|version|agent"),
    "measure:alone": ("lasts alone|autonomy|survival", "autonomie|survie"),
    "measure:memory": ("agent memory|memory of the agent", "memoire de l agent"),
    # states and kinds
    "value:open": ("open|active|ongoing|unresolved|still open", "ouvert|ouverte|en cours|actif|active|non resolu|non resolue"),
    "value:closed": ("closed|resolved|over|ended", "ferme|fermee|clos|close|resolu|resolue|termine|terminee"),
    "value:now": (  # and, where no time is said, are there …?
        "now|right now|at the moment|currently|at present|are there|is there",
        "maintenant|en ce moment|actuellement|a present|a l heure actuelle|y a t il|y a il",
    ),
    "value:critical": ("critical|severe", "critique|grave"),
    "value:warning": ("warning", "avertissement"),
    "value:alarm": ("in alarm|alarming state", "en alarme|en alerte"),
    "value:silent": (
        "silent|mute|quiet|no readings|gone silent",
        "muet|muette|silencieux|silencieuse|sans mesure",
    ),
    "value:commissioning": ("commissioning|in commissioning|learning|being learned", "en apprentissage|en mise en service|apprentissage|mise en service"),
    "value:normal": ("normal|healthy|fine|ok", "normal|normale|normaux|sain|saine"),
    "value:online": ("online|connected|reachable", "en ligne|connecte|connectee|joignable"),
    "value:offline": (
        "offline|unreachable|disconnected|not connected|not online",
        "hors ligne|injoignable|deconnecte|deconnectee|pas en ligne|pas connecte",
    ),
    "value:suspended": ("suspended", "suspendu|suspendue"),
    "value:revoked": ("revoked", "revoque|revoquee"),
    "value:running": ("running|in progress|under way", "en cours|en marche"),
    "value:paused": ("paused", "en pause"),
    "value:halted": ("halted|stopped", "arrete|arretee|stoppe"),
    "value:rolled_back": ("rolled back|rollback", "revenu en arriere|retour en arriere|annule|annulee|retire"),
    "value:aborted": ("aborted|cancelled", "abandonne|abandonnee|interrompu"),
    "value:done": ("done|completed|succeeded|successful|finished", "reussi|reussie|acheve|achevee|abouti|fini|finie"),
    "value:failed": ("failed|unsuccessful", "echoue|echouee|rate|ratee|en echec"),
    "value:confirm": ("confirmed|true alarm|marked as confirmed", "confirme|confirmee|vraie alarme"),
    "value:false-alarm": (
        "false alarm|false positive|marked as false alarm|false alert",
        "fausse alarme|faux positif|fausse alerte|marquee comme fausse alarme",
    ),
    "value:maintenance": ("maintenance|marked as maintenance", "maintenance|entretien"),
    "value:stuck": ("stuck|frozen", "bloque|bloquee|fige|figee|coince"),
    "value:missing": ("missing|absent", "manquant|manquante|absent|absente"),
    "value:out_of_range": ("out of range", "hors plage|hors limite|hors de la plage"),
    "value:spike": ("spike|spiked|spiking", "pic|eu des pics|pointe"),
    "value:link": ("link|line", "liaison|ligne"),
    "value:step": ("step|jump|jumped", "saut|marche"),
    "value:noise": ("noise|noisy", "bruit|bruite|bruyant"),
    "value:rate": ("wrong rate|rate", "cadence"),
    "value:time": ("clock", "horloge"),
    "value:disagreement": ("disagreement|disagree|contradicted", "desaccord|contredit"),
    # columns of times
    "time:last_seen": ("seen|heard|last seen|last heard|heard from", "vu|vue|entendu|entendue"),
    "time:enrolled": ("enrolled|enroled|registered|added", "inscrit|inscrite|enrole|enregistre|ajoute"),
    "time:created": ("created|made|trained|published|built", "cree|creee|fait|faite|entraine|publie"),
    "time:ended": ("ended|finished", "termine|fini"),
    "time:started": ("started|begun", "commence|demarre|lance"),
}  # fmt: skip

FILLERS: Final[Mapping[Language, str]] = {
    "en": (
        "a an the of in on at to for from by with and or is are was were be been being do does did has have had what which who whom "
        "whose where that this these those there it its they them their our we us i me my you your please show list give tell "
        "display find get all any some as gave given giving because due caused through about during item items within into than so if then "
        "can could would will shall should may might just only also many much times time get got run runs use uses going s t "
        "marked labelled labeled said fleet hub data running up out still since ones one kind anything something everything"
    ),
    "fr": (
        "le la les l un une des du de d en dans sur a au aux et ou est sont etait etaient ete etre a ont avait avaient as avez avons ai "
        "que qui quoi quel quelle quels quelles lesquels lesquelles ce cet cette ces c s se son sa ses leur leurs il elle ils elles "
        "on nous vous je me m mon ma mes y n ne t qu quoi dont ou pour avec par chez liste lister montre montrer montrez affiche "
        "afficher donne donner dis trouve trouver cherche moi tout tous toute toutes cause du due dus dues causees causee cause "
        "raison pendant durant depuis lors si alors plus eu fois temps tourne tournent utilise utilisent marque marquee marques "
        "dit dite comme parc flotte hub element elements donnee donnees debut fait faites passe passee ici ci la encore seulement aussi etc"
    ),
}


@cache
def phrases(language: Language) -> Mapping[tuple[str, ...], tuple[Meaning, ...]]:
    """Each phrase as stems, to its meanings: a few words have two."""
    found: dict[tuple[str, ...], tuple[Meaning, ...]] = {}
    column = LANGUAGES.index(language)
    for meaning, words in VOCABULARY.items():
        kind, _, value = meaning.partition(":")
        for phrase in words[column].split("|"):
            key = tuple(token.stem for token in tokens(phrase))
            known = found.get(key, ())
            if Meaning(kind, value) not in known:
                found[key] = (*known, Meaning(kind, value))
    return found


@cache
def fillers(language: Language) -> frozenset[str]:
    """Words that carry nothing of their own."""
    return frozenset(token.stem for token in tokens(FILLERS[language])) | frozenset(FILLERS[language].split())


@cache
def telling(language: Language) -> frozenset[str]:
    """Words by which a language is known: those that only it has."""
    own, others = ({word for word in _all_words(each)} for each in (language, _other(language)))
    return frozenset(own - others)


def _all_words(language: Language) -> frozenset[str]:
    return fillers(language) | {word for phrase in phrases(language) for word in phrase}


def _other(language: Language) -> Language:
    return "fr" if language == "en" else "en"
