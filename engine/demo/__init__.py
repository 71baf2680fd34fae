"""The live demo: a Gradio app whose panels call the families' own instruments on one model in memory."""
