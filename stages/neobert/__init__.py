"""NeoBERT without remote code: importing this makes transformers' Auto classes know it."""

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from stages.neobert.configuration import NeoBERTConfig
from stages.neobert.modeling import NeoBERT, NeoBERTForSequenceClassification, NeoBERTLMHead

AutoConfig.register(NeoBERTConfig.model_type, NeoBERTConfig)
AutoModel.register(NeoBERTConfig, NeoBERT)
AutoModelForMaskedLM.register(NeoBERTConfig, NeoBERTLMHead)
AutoModelForSequenceClassification.register(NeoBERTConfig, NeoBERTForSequenceClassification)
