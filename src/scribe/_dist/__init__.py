"""Special functions of count models and the numpyro distributions missing upstream."""
