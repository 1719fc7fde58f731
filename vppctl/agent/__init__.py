"""The agent: joins the layers below it and runs them."""
